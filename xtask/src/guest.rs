//! `guest`: Debian's kernel 6.1 in a virtual machine, for what another kernel says and for what
//! this one has not.
//!
//! The machine has no disk and no network card: an initramfs of busybox, the program to run, and
//! the shared libraries and kernel modules that it needs. The processor is emulated, because
//! hardware virtualisation is not everywhere and nothing here measures time.

mod archive;
mod kernel;
mod machine;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Profile};
use crate::{setup, sh};
use kernel::Kernel;
use machine::Machine;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// Debian's package of a kernel, linux-image-*-amd64 [default: the newest 6.1 that apt-get knows]
    #[arg(long, value_name = "DEB", global = true)]
    kernel: Option<PathBuf>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, global = true)]
    timeout: u64,
}

#[derive(clap::Subcommand)]
enum What {
    /// Load the XDP program there and run its packet tests
    Test {
        /// Arguments for the tests, such as a filter
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Ask IPVS there which server it chooses for whom, and write that down for the unit tests
    Oracle,
    /// Run any program of this host there
    Run {
        /// Kernel modules to load first
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        modules: Vec<String>,
        /// Programs of this host that it needs beside busybox's
        #[arg(long, value_name = "NAME", value_delimiter = ',')]
        programs: Vec<String>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// The tests of lb-tests that ask for a kernel and nothing else.
const TESTS: [&str; 3] = ["packets", "tunnel", "dataplane"];

/// IPVS, all its schedulers, and links for it. What they depend on comes along; crc32c_generic is
/// named because IPVS asks for it when it starts, not by a symbol.
const IPVS_MODULES: [&str; 16] = [
    "crc32c_generic",
    "veth",
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_lc",
    "ip_vs_wlc",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_dh",
    "ip_vs_sh",
    "ip_vs_mh",
    "ip_vs_fo",
    "ip_vs_ovf",
    "ip_vs_sed",
    "ip_vs_nq",
];

/// Where the answers of IPVS are kept.
const ORACLE: &str = "lb-common/testdata/ipvs-6.1.txt";

/// The task.
pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure(setup::For::Guest)?;
    let kernel = Kernel::find(args.kernel.as_deref())?;
    eprintln!("    guest: Linux {}", kernel.release);
    let timeout = Duration::from_secs(args.timeout);
    match &args.what {
        What::Test { rest } => {
            let mut failed = Vec::new();
            for test in TESTS {
                let program = test_program(test)?;
                let mut machine = Machine::new(&kernel)?;
                machine.program(&program)?;
                let mut command = vec![name_of(&program)?, "--test-threads=1", "--nocapture"];
                command.extend(rest.iter().map(String::as_str));
                // One call shows all that is wrong.
                if let Err(error) = machine.run(&command, timeout)?.success() {
                    eprintln!("    {error:#}");
                    failed.push(test);
                }
            }
            ensure!(
                failed.is_empty(),
                "tests failed on Linux {}: {}",
                kernel.release,
                failed.join(", ")
            );
            Ok(())
        }
        What::Oracle => {
            build::with_lab_program(Profile::Dev, "ipvs-oracle")?;
            let mut machine = Machine::new(&kernel)?;
            machine.program(&Profile::Dev.binary("ipvs-oracle"))?;
            machine.host_program("ip")?;
            machine.host_program("ipvsadm")?;
            machine.modules(&IPVS_MODULES)?;
            let ended = machine.run(&["ipvs-oracle", machine::RESULT], timeout)?;
            ended.success()?;
            let file = sh::root().join(ORACLE);
            fs::write(&file, &ended.result)
                .with_context(|| format!("cannot write {}", file.display()))?;
            eprintln!(
                "    {}: {} lines",
                file.display(),
                ended.result.lines().count()
            );
            Ok(())
        }
        What::Run {
            modules,
            programs,
            command,
        } => {
            let mut machine = Machine::new(&kernel)?;
            for name in programs {
                machine.host_program(name)?;
            }
            let mut command: Vec<&str> = command.iter().map(String::as_str).collect();
            // A path is a program of this host; a bare word is one that the guest has.
            let first = Path::new(command[0]);
            if first.components().count() > 1 {
                machine.program(&std::path::absolute(first)?)?;
                command[0] = name_of(first)?;
            }
            let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
            machine.modules(&modules)?;
            machine.run(&command, timeout)?.success()
        }
    }
}

/// Builds a test of lb-tests; its executable.
fn test_program(test: &str) -> Result<PathBuf> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-run", "--package", "lb-tests", "--test", test]);
    sh::step("build", &mut cargo)?;
    // The same again, now for what it is called.
    let messages = sh::output(cargo.args(["--quiet", "--message-format=json"]))?;
    executable(&messages, test)
        .map(PathBuf::from)
        .with_context(|| format!("cargo does not name the executable of the test {test}"))
}

/// The executable of a test among those that cargo's messages name (the programs of its package
/// are built with it).
fn executable<'a>(messages: &'a str, test: &str) -> Option<&'a str> {
    messages
        .lines()
        .filter_map(|line| line.split_once(r#""executable":""#)?.1.split_once('"'))
        .map(|(path, _)| path)
        .find(|path| {
            path.rsplit_once("/deps/")
                .and_then(|(_, file)| file.rsplit_once('-'))
                .is_some_and(|(name, _)| name == test)
        })
}

fn name_of(program: &Path) -> Result<&str> {
    match program.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok(name),
        None => bail!("{}: not the name of a program", program.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_that_is_named() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":null,"fresh":true}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"b"},"executable":"/t/debug/b","fresh":true}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"b"},"executable":"/t/debug/deps/b-1","fresh":true}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "b"), Some("/t/debug/deps/b-1"));
        assert_eq!(executable(messages, "a"), None);
    }
}
