//! `setup`: finds, or else installs, everything that building and testing need.
//!
//! Each need is looked for afresh every time (a few file lookups, milliseconds), so there is no
//! record that could be out of date. What is missing is installed in one go and reported line by
//! line; what cannot be installed from here is listed with the commands to type.

mod debian;
pub(crate) mod ebpf;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::sh;

/// A program that is needed, and Debian's package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn tool(program: &'static str, package: &'static str, why: &'static str) -> Tool {
    Tool {
        program,
        package,
        why,
    }
}

/// For building.
const BUILD_TOOLS: &[Tool] = &[
    tool("cc", "build-essential", "links every Rust program"),
    tool(
        "g++",
        "build-essential",
        "bpf-linker links LLVM, which is C++",
    ),
];

/// For the lab and the tests that need root.
const TEST_TOOLS: &[Tool] = &[
    tool("ip", "iproute2", "addresses and links in tests"),
    tool(
        "keepalived",
        "keepalived",
        "the other director of a mixed pair, and what we are measured against",
    ),
    tool("tcpdump", "tcpdump", "says what is in an advert"),
    tool("nginx", "nginx", "a web server for HTTP_GET and SSL_GET"),
    tool("dnsmasq", "dnsmasq-base", "a name server for DNS_CHECK"),
    tool(
        "aiosmtpd",
        "python3-aiosmtpd",
        "a mail server for SMTP_CHECK",
    ),
];

/// For the virtual machine with Debian's kernel.
const GUEST_TOOLS: &[Tool] = &[
    tool(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "the virtual machine with another kernel",
    ),
    tool(
        "busybox",
        "busybox-static",
        "shell and tools in that machine",
    ),
    tool("ipvsadm", "ipvsadm", "sets up the kernel's own IPVS there"),
];

/// Which needs a task has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Compiling lbd and lbctl.
    Building,
    /// That, and the tests.
    Testing,
    /// That, and the virtual machine.
    Guest,
}

/// The task `setup`: as [`ensure`], and it says so when there was nothing to do.
pub(crate) fn report() -> Result<()> {
    let start = Instant::now();
    ensure(For::Testing)?;
    for tool in BUILD_TOOLS.iter().chain(TEST_TOOLS) {
        if let Some(path) = sh::which(tool.program) {
            eprintln!("    {:<14} {}", tool.program, path.display());
        }
    }
    if let Some(found) = ebpf::find() {
        eprintln!("    {:<14} {found}", "eBPF toolchain");
    }
    if let Some(path) = ebpf::linker() {
        eprintln!("    {:<14} {}", "bpf-linker", path.display());
    }
    match sh::which("cargo-nextest") {
        Some(path) => eprintln!("    {:<14} {}", "test runner", path.display()),
        None => eprintln!(
            "    {:<14} cargo test (cargo-nextest, if installed, is used instead)",
            "test runner"
        ),
    }
    eprintln!(
        "setup: nothing is missing ({:.2} s)",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Installs what is missing for `purpose`; silent when nothing is.
pub(crate) fn ensure(purpose: For) -> Result<()> {
    let start = Instant::now();
    if sh::which("rustup").is_none() {
        bail!(
            "rustup is not on the search path; the XDP program is compiled by a toolchain of its own, \
             which rustup selects. Install it from https://rustup.rs and run this again"
        );
    }
    let tools = missing(purpose);
    let toolchain = ebpf::find();
    let linker = ebpf::linker();
    if tools.is_empty() && toolchain.is_some() && linker.is_some() {
        return Ok(());
    }

    eprintln!("==> setup");
    for tool in &tools {
        eprintln!(
            "    {:<14} missing: {} (package {})",
            tool.program, tool.why, tool.package
        );
    }
    match &toolchain {
        Some(found) => eprintln!("    {:<14} found: {found}", "eBPF toolchain"),
        None => eprintln!("    {:<14} missing: {}", "eBPF toolchain", ebpf::why_not()),
    }
    match &linker {
        Some(path) => eprintln!("    {:<14} found: {}", "bpf-linker", path.display()),
        None => eprintln!(
            "    {:<14} missing: it turns the compiled program into an eBPF object",
            "bpf-linker"
        ),
    }

    let mut packages: Vec<&str> = tools.iter().map(|t| t.package).collect();
    packages.dedup();
    install(&packages, toolchain)?;

    let still: Vec<&str> = missing(purpose).iter().map(|t| t.program).collect();
    if !still.is_empty() {
        bail!(
            "still not on the search path after installing: {}",
            still.join(", ")
        );
    }
    eprintln!("    setup: done in {}", sh::took(start));
    Ok(())
}

/// Fetches the lists of packages anew, where there are such lists and this is root.
pub(crate) fn update_package_lists() -> Result<()> {
    if debian::is_debian() {
        debian::update()
    } else {
        Ok(())
    }
}

fn missing(purpose: For) -> Vec<&'static Tool> {
    let (test_tools, guest_tools): (&[Tool], &[Tool]) = match purpose {
        For::Building => (&[], &[]),
        For::Testing => (TEST_TOOLS, &[]),
        For::Guest => (TEST_TOOLS, GUEST_TOOLS),
    };
    BUILD_TOOLS
        .iter()
        .chain(test_tools)
        .chain(guest_tools)
        .filter(|t| sh::which(t.program).is_none())
        .collect()
}

/// Installs `packages`, a toolchain for eBPF when there is none, and bpf-linker.
fn install(packages: &[&str], toolchain: Option<ebpf::Toolchain>) -> Result<()> {
    let debian = debian::is_debian();
    if !packages.is_empty() {
        if !debian {
            bail!(
                "this is not a Debian-like system, so its packages are not known here. Install the programs \
                 listed above with its package manager and run this again"
            );
        }
        debian::install(packages)?;
    }
    let toolchain = match toolchain {
        Some(found) => found,
        None => ebpf::install(debian)?,
    };
    if ebpf::linker().is_none() {
        ebpf::install_linker(&toolchain, debian)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_listed_once_with_a_reason() {
        let mut names: Vec<_> = BUILD_TOOLS
            .iter()
            .chain(TEST_TOOLS)
            .chain(GUEST_TOOLS)
            .map(|t| t.program)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(
            BUILD_TOOLS
                .iter()
                .chain(TEST_TOOLS)
                .chain(GUEST_TOOLS)
                .all(|t| !t.why.is_empty() && !t.package.is_empty())
        );
    }

    #[test]
    fn building_needs_less_than_testing() {
        assert!(missing(For::Building).len() <= missing(For::Testing).len());
        assert!(missing(For::Testing).len() <= missing(For::Guest).len());
    }
}
