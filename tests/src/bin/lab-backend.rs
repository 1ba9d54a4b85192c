//! The servers of a real server of the lab, see `lb_tests::backend::BackendProcess`.

fn main() -> anyhow::Result<()> {
    lb_tests::backend::run(std::env::args().skip(1))
}
