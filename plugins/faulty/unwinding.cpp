// Lets an exception out of a function that C calls.
#include <stdexcept>

extern "C" __attribute__((visibility("hidden"))) void unwind() {
  throw std::runtime_error("nobody catches this");
}
