# Run by CPack when the files of all packages are there: each gets the documents that Debian's have, in the form they have.
set(here ${CMAKE_CURRENT_LIST_DIR})
file(TIMESTAMP ${here}/copyright date "%a, %d %b %Y %H:%M:%S +0000" UTC)
foreach(package ${CPACK_COMPONENTS_ALL})
  set(share ${CPACK_TEMPORARY_DIRECTORY}/${package}${CPACK_PACKAGING_INSTALL_PREFIX}/share)
  set(directory ${share}/doc/${package})
  file(MAKE_DIRECTORY ${directory})
  configure_file(${here}/copyright ${directory}/copyright COPYONLY)
  configure_file(${here}/changelog.in ${directory}/changelog.Debian @ONLY)
  file(CHMOD_RECURSE ${directory} FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ
    DIRECTORY_PERMISSIONS ${CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS})
  file(GLOB pages ${share}/man/man*/*.[0-9])
  execute_process(COMMAND gzip -9nf ${directory}/changelog.Debian ${pages} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
