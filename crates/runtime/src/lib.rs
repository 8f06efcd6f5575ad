//! Sessions: takes a program to an executable on a device and runs it.
