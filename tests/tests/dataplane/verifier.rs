//! What the running kernel's verifier says of the programs.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lb_common::maps::{Params, name};
use lb_userspace::io::program;

/// No kernel since 5.2 walks more instructions than this (`BPF_COMPLEXITY_LIMIT_INSNS`).
const LIMIT: u32 = 1_000_000;

/// Another kernel's verifier, or another compiler, may well need half as much again; so the
/// programs stay this far below the limit.
const OURS: u32 = LIMIT / 3 * 2;

#[test]
fn every_program_loads_well_below_the_verifiers_limit() -> Result<()> {
    let params = Params {
        tick_shift: 8,
        ..Params::default()
    };
    let director = EbpfLoader::new()
        .override_global(name::PARAMS, zerocopy::IntoBytes::as_bytes(&params), true)
        .map_max_entries(name::FLOWS, 1)
        .load(program::BYTES)?;
    let real_server = EbpfLoader::new().load(program::DECAP_BYTES)?;
    load_all(director)?;
    load_all(real_server)
}

fn load_all(mut ebpf: Ebpf) -> Result<()> {
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().to_string_lossy();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into()?;
        let start = Instant::now();
        program.load().with_context(|| format!("load {name}"))?;
        let took = start.elapsed();
        let info = program.info()?;
        let walked = info
            .verified_instruction_count()
            .context("the kernel does not tell")?;
        println!(
            "Linux {kernel}, program {name}: {walked} instructions verified, {} bytes translated, loaded in {:.3} s",
            info.size_translated().context("no size")?,
            took.as_secs_f64()
        );
        ensure!(walked <= OURS, "{name}: {walked} of {OURS}");
    }
    Ok(())
}
