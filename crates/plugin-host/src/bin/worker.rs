//! A program that is nothing but a worker: for tests, and for programs that cannot start themselves again.

fn main() -> std::process::ExitCode {
    fewbit_plugin_host::worker::main()
}
