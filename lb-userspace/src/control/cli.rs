//! `lbctl`'s command line.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::control::config_cli::{self, CheckArgs, ConvertArgs, ExplainArgs};
use crate::control::protocol::{ConnectionFilter, ErrorKind, ReloadOutcome, SOCKET_PATH};
use crate::control::realserver_cli::{self, RealServerCommand};
use crate::control::server_cli::{self, DrainArgs, ServerArgs, SetCommand};
use crate::control::status::Status;
use crate::control::view::{self, Color, View, ipvs};
use crate::control::vrrp_cli::{self, VrrpCommand};
use crate::health::SetServer;
use crate::io::control::{Client, ClientError};
use crate::io::terminal;
use crate::model::{Protocol, ServiceKey};

const EXIT_STATUS: &str = "Exit status:
  0  done
  1  it failed, or there are warnings (check --strict)
  2  wrong usage, or refused: by lbd, or a configuration with errors
  3  lbd cannot be reached: it is not running, or its socket is not permitted";

/// The heading of what goes with every command.
const EVERYWHERE: &str = "With every command";

/// Looks at and steers lbd.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, about = "Looks at and steers lbd", after_help = EXIT_STATUS)]
pub struct Cli {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET_PATH, help_heading = EVERYWHERE)]
    socket: PathBuf,
    /// When to use colour; NO_COLOR in the environment means never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = EVERYWHERE)]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show services as `ipvsadm -Ln` does, or another part of the daemon's state.
    Show(ShowArgs),
    /// Show a part of the state again and again.
    Watch(WatchArgs),
    /// Have lbd read its configuration again; prints what changes.
    Reload(ReloadArgs),
    /// Set something by hand for a real server.
    #[command(subcommand)]
    Set(SetCommand),
    /// Give a real server no new connections; those that it has go on (weight 0 by hand).
    Drain(DrainArgs),
    /// Take a real server out of the pool, whatever its checks say, until `lbctl enable`.
    Disable(ServerArgs),
    /// End what was set by hand for a real server.
    Enable(ServerArgs),
    /// Have this host give the role of master away, or take it.
    #[command(subcommand)]
    Vrrp(VrrpCommand),
    /// Change what lbd logs until it is restarted: error, warn, info, debug, trace, or a filter.
    Log {
        /// As `lbd --log-level` takes it.
        level: String,
    },
    /// Check configuration files.
    Check(CheckArgs),
    /// Convert a configuration between keepalived.conf and TOML.
    Convert(ConvertArgs),
    /// Explain a keyword of keepalived.conf.
    Explain(ExplainArgs),
    /// Prepare this host as a real server, or undo that; lbd is not needed for it.
    #[command(subcommand)]
    Realserver(RealServerCommand),
}

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Services and real servers, in ipvsadm's shape.
    Services,
    /// The connections, as `ipvsadm -Lnc`.
    Connections,
    /// VRRP instances: state, master, addresses.
    Vrrp,
    /// BFD sessions: state, intervals, packets.
    Bfd,
    /// Health checks, quorum, sorry servers.
    Health,
    /// Why frames were passed to the stack or dropped.
    Reasons,
    /// All in short: daemon, program, VRRP, services.
    Status,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// What to show.
    #[arg(value_enum, default_value = "services", hide_default_value = true)]
    what: What,
    /// Counters of services and real servers since they were added.
    #[arg(long, group = "mode")]
    stats: bool,
    /// Rates of services and real servers, per second.
    #[arg(long, group = "mode")]
    rate: bool,
    /// Limits of connections of real servers (uthreshold, lthreshold).
    #[arg(long, group = "mode")]
    thresholds: bool,
    /// The connections (the same as `show connections`).
    #[arg(short, long, group = "mode")]
    connections: bool,
    /// Reasons that never occurred, too.
    #[arg(short, long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Which connections")]
struct FilterArgs {
    /// Of this service.
    #[arg(long, value_name = "ADDR:PORT[/udp|/sctp]", value_parser = parse_service)]
    service: Option<ServiceKey>,
    /// Of this client.
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    /// To this real server.
    #[arg(long, value_name = "ADDR")]
    server: Option<IpAddr>,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
struct WatchArgs {
    /// What to show.
    #[arg(value_enum, default_value = "status")]
    what: WatchWhat,
    /// Seconds from one picture to the next.
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    interval: Duration,
    /// Stop after so many pictures.
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Print JSON, one document a line.
    #[arg(long)]
    json: bool,
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WatchWhat {
    /// All in short.
    Status,
    /// Services and real servers.
    Services,
    /// Their counters.
    Stats,
    /// Their rates.
    Rate,
    /// VRRP instances.
    Vrrp,
    /// BFD sessions.
    Bfd,
    /// Health checks.
    Health,
    /// Why frames were passed or dropped.
    Reasons,
}

#[derive(Debug, Args)]
struct ReloadArgs {
    /// Only print what would change.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_service(text: &str) -> Result<ServiceKey, String> {
    let (endpoint, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((e, p)) if p.eq_ignore_ascii_case("tcp") => (e, Protocol::Tcp),
        Some((e, p)) if p.eq_ignore_ascii_case("udp") => (e, Protocol::Udp),
        Some((e, p)) if p.eq_ignore_ascii_case("sctp") => (e, Protocol::Sctp),
        Some((_, p)) => return Err(format!("`{p}` is none of tcp, udp and sctp")),
    };
    let at: SocketAddr = endpoint
        .parse()
        .map_err(|_| "it is written 192.0.2.1:80 or 192.0.2.1:53/udp".to_owned())?;
    Ok(ServiceKey {
        addr: at.ip(),
        port: at.port(),
        protocol,
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let secs: f64 = text
        .parse()
        .map_err(|_| "it is a number of seconds, such as 0.5".to_owned())?;
    match Duration::try_from_secs_f64(secs) {
        Ok(d) if (Duration::from_millis(50)..=Duration::from_secs(86_400)).contains(&d) => Ok(d),
        Ok(_) | Err(_) => Err("it lies between 0.05 and 86400".to_owned()),
    }
}

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// What was typed names nothing, or more than one thing.
    #[error("{0}")]
    Name(String),
    /// Our output.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Our output as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            CliError::Client(e) if e.unreachable() => 3,
            CliError::Client(ClientError::Refused(reply)) => match reply.kind {
                ErrorKind::Version
                | ErrorKind::Denied
                | ErrorKind::Malformed
                | ErrorKind::TooLong => 2,
                ErrorKind::Busy | ErrorKind::Stopping | ErrorKind::Failed => 1,
            },
            CliError::Name(_) => 2,
            CliError::Client(_) | CliError::Output(_) | CliError::Json(_) => 1,
        }
    }

    /// Whether the reader of our output has enough, as `head` has.
    fn is_closed_pipe(&self) -> bool {
        match self {
            CliError::Output(e) => e.kind() == io::ErrorKind::BrokenPipe,
            CliError::Json(e) => e.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
            CliError::Client(_) | CliError::Name(_) => false,
        }
    }
}

/// Runs `lbctl` with this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Check(args) => return config_cli::check(args, cli.color(&io::stdout())),
        Command::Convert(args) => return config_cli::convert(args, cli.color(&io::stderr())),
        Command::Explain(args) => return config_cli::explain(args),
        Command::Realserver(command) => return realserver_cli::run(command),
        Command::Show(args) => show(&cli, args),
        Command::Watch(args) => watch(&cli, args),
        Command::Reload(args) => reload(&cli, args),
        Command::Set(command) => cli.steer(|daemon| server_cli::set(daemon, command)),
        Command::Drain(args) => cli.steer(|daemon| server_cli::drain(daemon, args)),
        Command::Log { level } => cli.steer(|daemon| log(daemon, level)),
        Command::Vrrp(command) => cli.steer(|daemon| vrrp_cli::run(daemon, command)),
        Command::Disable(args) => {
            cli.steer(|daemon| server_cli::change(daemon, args, SetServer::Disable))
        }
        Command::Enable(args) => {
            cli.steer(|daemon| server_cli::change(daemon, args, SetServer::Enable))
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) if e.is_closed_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lbctl: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

impl Cli {
    /// Whether to colour what goes to `out`.
    fn color(&self, out: &impl IsTerminal) -> Color {
        let wanted = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let no = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
                out.is_terminal() && !no && !dumb
            }
        };
        if wanted { Color::On } else { Color::Off }
    }

    fn steer(&self, act: impl FnOnce(&mut Client) -> Result<u8, CliError>) -> Result<u8, CliError> {
        act(&mut self.connect()?)
    }

    fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket)
    }
}

fn show(cli: &Cli, args: &ShowArgs) -> Result<u8, CliError> {
    let mode = args.stats || args.rate || args.thresholds || args.connections;
    if args.what != What::Services && mode {
        eprintln!(
            "lbctl: --stats, --rate, --thresholds and --connections go with `show` or `show services` only"
        );
        return Ok(2);
    }
    let listed = args.connections || args.what == What::Connections;
    if !listed && args.filter != FilterArgs::default() {
        eprintln!(
            "lbctl: --service, --client, --server and --limit go with `show connections` only"
        );
        return Ok(2);
    }
    let view = match args.what {
        What::Connections => return connections(cli, args),
        What::Services if args.connections => return connections(cli, args),
        What::Services if args.stats => View::Stats,
        What::Services if args.rate => View::Rate,
        What::Services if args.thresholds => View::Thresholds,
        What::Services => View::Services,
        What::Vrrp => View::Vrrp,
        What::Bfd => View::Bfd,
        What::Health => View::Health,
        What::Reasons => View::Reasons { all: args.all },
        What::Status => View::Overview,
    };
    let status = cli.connect()?.status()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &view::part(view, &status))?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(view::render(view, &status, cli.color(&io::stdout())).as_bytes())?;
    }
    out.flush()?;
    Ok(0)
}

fn connections(cli: &Cli, args: &ShowArgs) -> Result<u8, CliError> {
    let FilterArgs {
        service,
        client,
        server,
        limit,
    } = args.filter;
    let filter = ConnectionFilter {
        service,
        client,
        server,
    };
    let mut daemon = cli.connect()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut between: &[u8] = b"[\n";
    if !args.json {
        out.write_all(ipvs::connections_title().as_bytes())?;
    }
    daemon.connections(&filter, limit.unwrap_or(u64::MAX), |c| {
        if args.json {
            out.write_all(std::mem::replace(&mut between, b",\n"))?;
            serde_json::to_writer(&mut out, &c)?;
        } else {
            out.write_all(ipvs::connection(&c).as_bytes())?;
        }
        Ok::<_, CliError>(())
    })?;
    if args.json {
        out.write_all(if between == b"[\n" { b"[]\n" } else { b"\n]\n" })?;
    }
    out.flush()?;
    Ok(0)
}

fn reload(cli: &Cli, args: &ReloadArgs) -> Result<u8, CliError> {
    let report = cli.connect()?.reload(args.dry_run)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(view::reload::reload(&report, cli.color(&io::stdout())).as_bytes())?;
    }
    out.flush()?;
    Ok(match report.outcome {
        ReloadOutcome::Applied | ReloadOutcome::Unchanged | ReloadOutcome::WouldApply => 0,
        ReloadOutcome::Refused => 2,
    })
}

fn log(daemon: &mut Client, level: &str) -> Result<u8, CliError> {
    let before = daemon.log(level)?;
    writeln!(io::stdout(), "logging by {level}, {before} before")?;
    Ok(0)
}

fn watch(cli: &Cli, args: &WatchArgs) -> Result<u8, CliError> {
    let view = match args.what {
        WatchWhat::Status => View::Overview,
        WatchWhat::Services => View::Services,
        WatchWhat::Stats => View::Stats,
        WatchWhat::Rate => View::Rate,
        WatchWhat::Vrrp => View::Vrrp,
        WatchWhat::Bfd => View::Bfd,
        WatchWhat::Health => View::Health,
        WatchWhat::Reasons => View::Reasons { all: false },
    };
    let screen = io::stdout().is_terminal() && !args.json;
    let mut daemon = Some(cli.connect()?);
    let mut shown = 0;
    loop {
        // A daemon that is restarted comes back; until then its absence is what there is to see.
        let status = match daemon.as_mut() {
            Some(daemon) => daemon.status(),
            None => cli.connect().and_then(|mut new| {
                let status = new.status();
                daemon = Some(new);
                status
            }),
        };
        if status.is_err() {
            daemon = None;
        }
        picture(cli, args, view, screen, &status)?;
        shown += 1;
        if args.count.is_some_and(|n| shown >= n) {
            return Ok(match &status {
                Ok(_) => 0,
                Err(e) if e.unreachable() => 3,
                Err(_) => 1,
            });
        }
        #[expect(clippy::disallowed_methods, reason = "lbctl has nothing else to do")]
        std::thread::sleep(args.interval);
    }
}

fn picture(
    cli: &Cli,
    args: &WatchArgs,
    view: View,
    screen: bool,
    status: &Result<Status, ClientError>,
) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match status {
        Ok(status) if args.json => {
            serde_json::to_writer(&mut out, &view::part(view, status))?;
            out.write_all(b"\n")?;
        }
        Ok(status) if screen => {
            let text = view::render(view, status, cli.color(&io::stdout()));
            out.write_all(terminal::frame(&text, terminal::rows()).as_bytes())?;
        }
        Ok(status) => {
            out.write_all(view::render(view, status, cli.color(&io::stdout())).as_bytes())?;
            out.write_all(b"\n")?;
        }
        Err(e) if screen => {
            out.write_all(terminal::frame(&format!("lbctl: {e}\n"), None).as_bytes())?
        }
        Err(e) => eprintln!("lbctl: {e}"),
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_the_exit_statuses() {
        let help = Cli::command().render_long_help().to_string();
        for n in 0..=3 {
            assert!(help.contains(&format!("\n  {n}  ")), "{help}");
        }
    }

    #[test]
    fn services_of_the_filter() {
        let key = |port, protocol| ServiceKey {
            addr: [192, 0, 2, 1].into(),
            port,
            protocol,
        };
        assert_eq!(parse_service("192.0.2.1:80"), Ok(key(80, Protocol::Tcp)));
        assert_eq!(
            parse_service("192.0.2.1:53/UDP"),
            Ok(key(53, Protocol::Udp))
        );
        assert_eq!(
            parse_service("[2001:db8::1]:80").map(|k| k.addr.is_ipv6()),
            Ok(true)
        );
        for wrong in [
            "192.0.2.1",
            "192.0.2.1:80/icmp",
            ":80",
            "192.0.2.1:99999",
            "",
        ] {
            assert!(parse_service(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn intervals() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e99", "x", ""] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_have_their_exit_status() {
        let refused = |kind| {
            let reply = crate::control::protocol::ErrorReply {
                kind,
                message: String::new(),
            };
            CliError::from(ClientError::Refused(reply)).exit_code()
        };
        assert_eq!(refused(ErrorKind::Version), 2);
        assert_eq!(refused(ErrorKind::Busy), 1);
        assert_eq!(
            CliError::from(ClientError::Denied { path: "/x".into() }).exit_code(),
            3
        );
    }
}
