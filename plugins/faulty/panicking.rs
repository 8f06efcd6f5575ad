//! Panics in a function that C calls, with nothing to catch it.

#[unsafe(no_mangle)]
extern "C" fn unwind() {
    panic!("nobody catches this");
}
