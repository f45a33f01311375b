# The Debian packages, by CPack: pubsubd (broker and service), pubsubd-cluster (its module for several brokers), pubsub (command
# line), libpubsub0 (the shared libraries) and libpubsub-dev, each from the component of its name (CMAKE_INSTALL_DEFAULT_COMPONENT_NAME).
set(here ${CMAKE_CURRENT_SOURCE_DIR}/debian)
set(PUBSUB_MAINTAINER "pubsub maintainers <maintainers@pubsub.invalid>" CACHE STRING "Maintainer of the Debian packages")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pubsub)
set(CPACK_PACKAGE_VENDOR pubsub)
set(CPACK_PACKAGE_CONTACT ${PUBSUB_MAINTAINER})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pubsub built using CMake") # CPack's default: else it comes before each one's own
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL pubsubd pubsub libpubsub0 libpubsub-dev)
if(PUBSUB_CLUSTER)
  list(APPEND CPACK_COMPONENTS_ALL pubsubd-cluster)
endif()
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# The modes don't depend on the umask of whoever builds it.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)

# pubsub_package(NAME SECTION SUMMARY TEXT)
macro(pubsub_package name section summary text)
  string(TOUPPER ${name} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name})
  set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section})
  string(CONCAT CPACK_DEBIAN_${upper}_DESCRIPTION "${summary}\n"
    "pubsub carries messages between the programs of one machine or many:\n"
    "publishers send them to topics, subscribers get those of the topics they\n"
    "want, and what is to be kept goes into streams on the disk.\n"
    "\n${text}")
endmacro()
pubsub_package(pubsubd net "publish/subscribe message broker" "This is the broker, as a service.")
pubsub_package(pubsubd-cluster net "publish/subscribe message broker, several as one"
  "This is what the broker needs to be one of several that meet on a NATS\ncluster.")
pubsub_package(pubsub net "publish/subscribe message broker, command line"
  "This is the command line: publish, subscribe, ask, answer, and operate the\nbroker.")
pubsub_package(libpubsub0 libs "publish/subscribe message broker, client library" "These are the shared libraries for C.")
pubsub_package(libpubsub-dev libdevel "publish/subscribe message broker, client library's headers"
  "These are the headers and the static libraries for C.")

set(CPACK_DEBIAN_PUBSUBD_PACKAGE_DEPENDS "adduser, init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_PUBSUBD_PACKAGE_RECOMMENDS pubsub)
set(CPACK_DEBIAN_PUBSUBD_PACKAGE_SUGGESTS pubsubd-cluster)
set(CPACK_DEBIAN_PUBSUBD-CLUSTER_PACKAGE_DEPENDS "pubsubd (= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_PUBSUBD_PACKAGE_CONTROL_EXTRA ${here}/conffiles ${here}/postinst ${here}/prerm ${here}/postrm)
set(CPACK_DEBIAN_LIBPUBSUB0_PACKAGE_CONTROL_EXTRA ${here}/triggers)
set(CPACK_DEBIAN_LIBPUBSUB-DEV_PACKAGE_DEPENDS
  "libpubsub0 (= ${PROJECT_VERSION}-1), libssl-dev, libuv1-dev, libmsgpack-dev | libmsgpack-c-dev")
set(CPACK_DEBIAN_LIBPUBSUB-DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_PRE_BUILD_SCRIPTS ${here}/documents.cmake)
include(CPack)
