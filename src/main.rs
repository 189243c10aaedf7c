//! The command. What it does is in the library; what is typed and what is shown is in `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
