//! throw-away
use lb_common::maps::*;
use lb_tests::dataplane::*;
fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap();
    let buckets = std::env::args()
        .nth(2)
        .map_or(FLOW_BUCKETS, |s| s.parse().unwrap());
    let mut d = match std::env::var_os("LB_OBJECT") {
        Some(path) => Director::load_object(&std::fs::read(path)?, buckets)?,
        None => Director::load(buckets)?,
    };
    d.set_iface(1, [2, 0, 0, 0, 0, 1], &[[2, 0, 0, 0, 9, 9]])?;
    for (id, proto) in [(1u16, 6u8), (2, 17)] {
        let mut entries = vec![];
        for i in 0..64u16 {
            let index = id * 64 + i;
            d.set_backend(
                index,
                Backend {
                    dmac: [2, 0xaa, 0, 0, 0, i as u8],
                    smac: [2, 0xbb, 0, 0, 0, 0],
                    ifindex: 1,
                    flags: BACKEND_RESOLVED,
                    service: id,
                    ..Default::default()
                },
            );
            entries.push(index);
        }
        let key = service_key(u32::from_ne_bytes([192, 0, 2, 1]), 80u16.to_be(), proto);
        d.set_service(
            ServiceSlot {
                key,
                id,
                sched: Sched::Turn as u8,
                flags: SERVICE_SLOPPY,
                persist_mask: !0,
                ..Default::default()
            },
            &entries,
        )?;
    }
    println!("verified {} instructions", d.verified_instructions()?);
    let _ = std::fs::remove_file(&path);
    d.pin(path.as_ref())?;
    Ok(())
}
