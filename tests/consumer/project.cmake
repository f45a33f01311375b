# The project of somebody who uses the installed library; becomes the CMakeLists.txt of a directory with main.c.
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(pubsub 0.1 REQUIRED)
add_executable(consumer main.c)
target_link_libraries(consumer PRIVATE pubsub::pubsub)

find_package(pubsub 0.1 REQUIRED COMPONENTS tls)
add_executable(consumer_tls tls.c)
target_link_libraries(consumer_tls PRIVATE pubsub::tls)
