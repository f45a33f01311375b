# Asks for components (COMPONENTS, OPTIONAL) and says what came of it; becomes the CMakeLists.txt of a project that builds
# nothing.
cmake_minimum_required(VERSION 3.25)
project(ask LANGUAGES NONE)
find_package(pubsub 0.1 COMPONENTS ${COMPONENTS} OPTIONAL_COMPONENTS ${OPTIONAL})
message(STATUS "pubsub: ${pubsub_FOUND}")
foreach(component ${COMPONENTS} ${OPTIONAL})
  message(STATUS "${component}: ${pubsub_${component}_FOUND}")
endforeach()
foreach(target core posix pubsub pubsub_static tls uv uv_static msgpack)
  if(TARGET pubsub::${target})
    message(STATUS "target ${target}")
  endif()
endforeach()
