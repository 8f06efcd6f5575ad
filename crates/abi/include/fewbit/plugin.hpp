// fewbit/plugin.hpp - C++11 over plugin.h, header-only.
//
// Derive from fewbit::device, fewbit::executable and fewbit::context, and put
//
//     FEWBIT_PLUGIN(my_plugin, "com.example.npu", "Example", "0.4.1", "git-1234")
//
// into one source file, where my_plugin has
//
//     static void init(const fewbit_host *host);
//     static uint32_t device_count();
//     static std::unique_ptr<fewbit::device> open(uint32_t index);
//
// Objects are owned by std::unique_ptr until they cross the boundary. Any
// exception becomes a status: a fewbit::refusal its own, std::bad_alloc
// FEWBIT_OUT_OF_MEMORY, any other FEWBIT_INTERNAL with its text.
#ifndef FEWBIT_PLUGIN_HPP
#define FEWBIT_PLUGIN_HPP

#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "plugin.h"

namespace fewbit {

// A refusal or failure with its status, its reasons and its node.
class refusal : public std::runtime_error {
 public:
  refusal(fewbit_status status, uint32_t why, const std::string &message,
          uint32_t node = FEWBIT_ABSENT, int32_t vendor_code = 0)
      : std::runtime_error(message), status(status), why(why), node(node), vendor_code(vendor_code) {}

  fewbit_status status;
  uint32_t why;
  uint32_t node;
  int32_t vendor_code;
};

class context {
 public:
  virtual ~context() {}
  virtual void run(const fewbit_tensor *const *in, uint32_t n_in, fewbit_tensor *const *out,
                   uint32_t n_out) = 0;
};

class executable {
 public:
  virtual ~executable() {}
  virtual std::unique_ptr<context> new_context() = 0;
};

class device {
 public:
  virtual ~device() {}
  virtual std::string capabilities() = 0;
  virtual void supports(const fewbit_program &program, fewbit_verdict *per_node) = 0;
  virtual std::unique_ptr<executable> compile(const fewbit_program &program) = 0;
};

namespace detail {

inline void explain(fewbit_error *error, uint32_t why, uint32_t node, int32_t vendor_code,
                    const char *message) {
  if (error == nullptr) return;
  error->why = why;
  error->node = node;
  error->vendor_code = vendor_code;
  std::strncpy(error->message, message, sizeof error->message - 1);
  error->message[sizeof error->message - 1] = '\0';
}

// Runs body; no exception leaves.
template <class Body>
fewbit_status guarded(fewbit_error *error, Body body) noexcept {
  try {
    body();
    return FEWBIT_OK;
  } catch (const refusal &refused) {
    explain(error, refused.why, refused.node, refused.vendor_code, refused.what());
    return refused.status;
  } catch (const std::bad_alloc &) {
    explain(error, FEWBIT_WHY_MEMORY, FEWBIT_ABSENT, 0, "out of memory");
    return FEWBIT_OUT_OF_MEMORY;
  } catch (const std::exception &other) {
    explain(error, 0, FEWBIT_ABSENT, 0, other.what());
    return FEWBIT_INTERNAL;
  } catch (...) {
    explain(error, 0, FEWBIT_ABSENT, 0, "an exception that is no std::exception");
    return FEWBIT_INTERNAL;
  }
}

template <class T>
const T &required(const T *pointer, const char *name) {
  if (pointer == nullptr) {
    throw refusal(FEWBIT_INVALID_ARGUMENT, 0, std::string("expected `") + name + "`, found NULL");
  }
  return *pointer;
}

template <class T>
T &required(T *pointer, const char *name) {
  return const_cast<T &>(required(static_cast<const T *>(pointer), name));
}

template <class P>
struct entries {
  static fewbit_status init(const fewbit_host *host, fewbit_error *error) {
    return guarded(error, [&] {
      required(host, "host");
      P::init(host);
    });
  }
  static void deinit() {}
  static fewbit_status device_count(uint32_t *out, fewbit_error *error) {
    return guarded(error, [&] { required(out, "out") = P::device_count(); });
  }
  static fewbit_status device_open(uint32_t index, fewbit_device **out, fewbit_error *error) {
    return guarded(error, [&] {
      required(out, "out");
      if (index >= P::device_count()) {
        throw refusal(FEWBIT_INVALID_ARGUMENT, 0, "there is no device of that index");
      }
      *out = reinterpret_cast<fewbit_device *>(P::open(index).release());
    });
  }
  static void device_close(fewbit_device *self) {
    guarded(nullptr, [&] { delete reinterpret_cast<device *>(self); });
  }
  static fewbit_status capabilities(fewbit_device *self, const fewbit_sink *sink,
                                    fewbit_error *error) {
    fewbit_status refused = FEWBIT_OK;
    fewbit_status status = guarded(error, [&] {
      const fewbit_sink &to = required(sink, "sink");
      std::string text = reinterpret_cast<device &>(required(self, "device")).capabilities();
      refused = to.write(to.ctx, text.data(), text.size());
    });
    return status == FEWBIT_OK ? refused : status;
  }
  static fewbit_status supports(fewbit_device *self, const fewbit_program *program,
                                fewbit_verdict *per_node, fewbit_error *error) {
    return guarded(error, [&] {
      required(per_node, "per_node");
      reinterpret_cast<device &>(required(self, "device"))
          .supports(required(program, "program"), per_node);
    });
  }
  static fewbit_status compile(fewbit_device *self, const fewbit_program *program,
                               fewbit_executable **out, fewbit_error *error) {
    return guarded(error, [&] {
      required(out, "out");
      *out = reinterpret_cast<fewbit_executable *>(
          reinterpret_cast<device &>(required(self, "device"))
              .compile(required(program, "program"))
              .release());
    });
  }
  static void executable_free(fewbit_executable *self) {
    guarded(nullptr, [&] { delete reinterpret_cast<executable *>(self); });
  }
  static fewbit_status context_new(fewbit_executable *self, fewbit_context **out,
                                   fewbit_error *error) {
    return guarded(error, [&] {
      required(out, "out");
      *out = reinterpret_cast<fewbit_context *>(
          reinterpret_cast<executable &>(required(self, "executable")).new_context().release());
    });
  }
  static fewbit_status run(fewbit_context *self, const fewbit_tensor *const *in, uint32_t n_in,
                           fewbit_tensor *const *out, uint32_t n_out, fewbit_error *error) {
    return guarded(error, [&] {
      reinterpret_cast<context &>(required(self, "context")).run(in, n_in, out, n_out);
    });
  }
  static void context_free(fewbit_context *self) {
    guarded(nullptr, [&] { delete reinterpret_cast<context *>(self); });
  }
};

}  // namespace detail

inline fewbit_str text(const char *literal) { return fewbit_str{literal, std::strlen(literal)}; }

inline bool equal(fewbit_str a, const char *b) {
  return a.len == std::strlen(b) && std::memcmp(a.ptr, b, a.len) == 0;
}

}  // namespace fewbit

#define FEWBIT_PLUGIN(P, ID, VENDOR, VERSION, BUILD)                                            \
  extern "C" FEWBIT_EXPORT const fewbit_plugin *fewbit_plugin_query(uint32_t host_major,        \
                                                                    uint32_t) {                 \
    typedef fewbit::detail::entries<P> e;                                                       \
    static const fewbit_plugin table = {                                                        \
        FEWBIT_MAGIC, sizeof(fewbit_plugin), FEWBIT_ABI_MAJOR, FEWBIT_ABI_MINOR, 0,             \
        {ID, sizeof(ID) - 1}, {VENDOR, sizeof(VENDOR) - 1}, {VERSION, sizeof(VERSION) - 1},     \
        {BUILD, sizeof(BUILD) - 1}, e::init, e::deinit, nullptr, e::device_count, e::device_open, \
        e::device_close, e::capabilities, e::supports, e::compile, nullptr, nullptr, nullptr,   \
        e::executable_free, e::context_new, e::run, e::context_free, nullptr};                  \
    return host_major == FEWBIT_ABI_MAJOR ? &table : nullptr;                                   \
  }

#endif
