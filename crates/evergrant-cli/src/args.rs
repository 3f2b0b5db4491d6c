//! The command line.
//!
//! Commands are described here; the settings that they share are made from the table in `settings::catalog`. Whoever
//! types a secret as a flag learns how to give it instead, and the message does not repeat it.

mod api;
mod exec;
mod secret;
mod simulate;
mod store;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use evergrant::settings::duration;
use evergrant_core::capture::parse_moment;
use evergrant_core::time::{Span, Wall};
use evergrant_core::verdict::Cause;

use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::{Kind, SPECS, Setting};
use crate::settings::file::secret_hint;
use crate::settings::flags::Flags;
pub(crate) use api::{ApiArgs, PagesArgs};
pub(crate) use exec::{ExecArgs, SdkConfig};
pub(crate) use secret::SecretCommand;
pub(crate) use simulate::SimulateArgs;
pub(crate) use store::{MoveArgs, StoreCommand};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Settings come from flags, from EVERGRANT_* variables, from a profile of the settings file, or are defaults, strongest \
first. `evergrant token --help` lists them; `evergrant config check` shows where each one comes from. Secrets are never \
flags: set EVERGRANT_CLIENT_SECRET, or name a file with --client-secret-file.

Try `evergrant demo`: it needs no account and no network.";

/// Keeps OAuth 2.0 access tokens working, and explains every 401.
#[derive(Parser, Debug)]
#[command(name = "evergrant", version = env!("EVERGRANT_VERSION"), styles = STYLES, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// Settings before the command.
    #[command(flatten)]
    flags: Flags,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// See it work: a simulated provider, its faults, and two ways to live with them
    Demo(DemoArgs),
    /// Print an access token that works
    Token(TokenArgs),
    /// Run a command with an access token in its environment
    Exec(ExecArgs),
    /// Send one API request with a token that works, or read all pages of a collection
    Api(ApiArgs),
    /// Log in as a person, in a browser or on another device
    Login(LoginArgs),
    /// Run a local gateway that gives every request a token that works
    Gateway(GatewayArgs),
    /// Ask the running gateway whether it can serve
    Ready(ReadyArgs),
    /// Look at everything between here and the API, and say what is wrong and what to do
    Doctor(DoctorArgs),
    /// Measure how far this machine's clock is from the provider's
    Clock(ClockArgs),
    /// Explain a refused request: from a capture, or from a running gateway
    Explain(ExplainArgs),
    /// Look at the token store, move a credential to another store, or forget it
    #[command(subcommand)]
    Store(StoreCommand),
    /// Keep the client secret in the desktop's keyring
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Compare ways to keep a token in simulated worlds, in virtual time
    Simulate(SimulateArgs),
    /// Check the settings, or write a settings file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a folder
    Man {
        /// Folder to write one page per command into
        dir: Option<PathBuf>,
    },
}

/// `evergrant demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Take 10 seconds instead of 40
    #[arg(long)]
    pub(crate) fast: bool,
    /// Print a JSON object instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
}

/// `evergrant token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Print a JSON object with the token and the seconds it has left
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// How to print the token
    #[arg(long, value_enum, default_value_t = TokenFormat::Plain, value_name = "FORMAT")]
    pub(crate) format: TokenFormat,
    /// Refresh a token that has less than this left, as 10m
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub(crate) min_remaining: Option<Span>,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// How `token` prints.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenFormat {
    /// The token and a line break
    Plain,
    /// A header line, for `curl -H @-`
    Header,
    /// Variables, for `eval` and env files
    Env,
}

/// `evergrant login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Enter a code on another device instead, for machines without a browser
    #[arg(long, conflicts_with = "no_browser")]
    pub(crate) device: bool,
    /// Only print the address to open
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// How long to wait for the person, as 5m
    #[arg(long, value_name = "DURATION", value_parser = span, default_value = "5m")]
    pub(crate) wait: Span,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant gateway`.
#[derive(Args, Debug)]
pub(crate) struct GatewayArgs {
    /// Print a JSON object with the addresses once both listeners are up
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant ready`.
#[derive(Args, Debug)]
pub(crate) struct ReadyArgs {
    /// How long to wait until it can, as 30s
    #[arg(long, value_name = "DURATION", value_parser = span, default_value = "0s")]
    pub(crate) wait: Span,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the report as one self-contained web page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// For how long the API is asked with the new token, as 10s
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = span)]
    pub(crate) propagation: Span,
    /// A server whose clock is right, to tell which of two clocks is wrong
    #[arg(long, value_name = "URL")]
    pub(crate) reference: Option<String>,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant clock`.
#[derive(Args, Debug)]
pub(crate) struct ClockArgs {
    /// Go on measuring, with a plot on a terminal and a line per interval elsewhere
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print a JSON object, or with --watch one a line
    #[arg(long)]
    pub(crate) json: bool,
    /// How often --watch shows what is known, as 500ms
    #[arg(long, value_name = "DURATION", value_parser = span, default_value = "2s", requires = "watch")]
    pub(crate) interval: Span,
    /// Ask an NTP server as well, as ntp.example.com or 192.0.2.1:123
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) ntp: Option<String>,
    /// Ask the Date of this https URL as well, where a network lets no NTP out
    #[arg(long, value_name = "URL")]
    pub(crate) reference: Option<String>,
    /// Assume that servers write their dates this late at most; 1s if not given, 0s where they are known to be exact
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub(crate) date_lag: Option<Span>,
    /// Assume that the nodes behind one name differ by this much at most; 50ms if not given
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub(crate) node_spread: Option<Span>,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What only a capture has.
const CAPTURE: [&str; 3] = ["file", "token_file", "captured_at"];

/// `evergrant explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A capture: an HTTP answer, a log of `curl -v`, a HAR, a JSON error, or the text of an exception; - or nothing for
    /// standard input
    #[arg(value_name = "FILE", conflicts_with = "last")]
    pub(crate) file: Option<PathBuf>,
    /// Ask a running gateway for its last N verdicts; 5 if no number is given
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5")]
    pub(crate) last: Option<usize>,
    /// The token that was sent, for a capture that does not show it; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "last")]
    pub(crate) token_file: Option<PathBuf>,
    /// When the capture was made, for one without dates, as 2026-11-28T22:43:10Z
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "last")]
    pub(crate) captured_at: Option<Wall>,
    /// With --last: only verdicts with this cause
    #[arg(long, value_name = "CAUSE", value_parser = cause, requires = "last", conflicts_with_all = CAPTURE, value_delimiter = ',')]
    pub(crate) cause: Vec<String>,
    /// With --last: only routes that hold this text, as /api/v2/users
    #[arg(long, value_name = "TEXT", requires = "last", conflicts_with_all = CAPTURE)]
    pub(crate) route: Option<String>,
    /// With --last: only verdicts of this time, as 10m
    #[arg(long, value_name = "DURATION", value_parser = span, requires = "last", conflicts_with_all = CAPTURE)]
    pub(crate) since: Option<Span>,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// `evergrant config`.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Check the settings and show where each one comes from
    Check {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// Settings.
        #[command(flatten)]
        flags: Flags,
    },
    /// Write a settings file that explains every setting and holds those given as flags
    Init {
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
        /// Settings.
        #[command(flatten)]
        flags: Flags,
    },
}

impl Cli {
    /// Reads the command line; help and version come back as an error of clap's, a slip as a failure.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let mut command = command();
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let result = command.try_get_matches_from_mut(arguments).and_then(|matches| Self::from_arg_matches(&matches));
        let mut cli = result.map_err(|error| match secret_flag(&error) {
            Some(failure) => Stop::Failure(failure),
            None => Stop::Clap(error),
        })?;
        let before = std::mem::take(&mut cli.flags);
        if let Some(flags) = cli.command.flags_mut() {
            *flags = std::mem::take(flags).or(before);
        }
        Ok(cli)
    }
}

impl Command {
    fn flags_mut(&mut self) -> Option<&mut Flags> {
        match self {
            Self::Token(TokenArgs { flags, .. })
            | Self::Exec(ExecArgs { flags, .. })
            | Self::Api(ApiArgs { flags, .. })
            | Self::Login(LoginArgs { flags, .. })
            | Self::Gateway(GatewayArgs { flags, .. })
            | Self::Ready(ReadyArgs { flags, .. })
            | Self::Doctor(DoctorArgs { flags, .. })
            | Self::Clock(ClockArgs { flags, .. })
            | Self::Explain(ExplainArgs { flags, .. })
            | Self::Config(ConfigCommand::Check { flags, .. } | ConfigCommand::Init { flags, .. }) => Some(flags),
            Self::Store(command) => Some(command.flags_mut()),
            Self::Secret(command) => Some(command.flags_mut()),
            Self::Demo(_) | Self::Simulate(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

/// Why the command line leads to no command.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help, version, or a slip that clap explains.
    Clap(clap::Error),
    /// A slip that we explain.
    Failure(Failure),
}

/// The whole command line, for help, completions and manual.
pub(crate) fn command() -> clap::Command {
    let hide = |arg: clap::Arg| if arg.get_help_heading().is_some() { arg.hide(true) } else { arg };
    let without = |command: clap::Command, hidden: &[&str]| {
        command.mut_args(|arg| if hidden.contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg })
    };
    let only_tokens = |command: clap::Command| without(without(command, &ONLY_GATEWAY), &ONLY_LOGIN);
    let only_login = |command: clap::Command| without(command, &ONLY_GATEWAY);
    let only_gateway = |command: clap::Command| without(command, &ONLY_LOGIN);
    let of_doctor = |command: clap::Command| {
        let hidden: Vec<&str> = ONLY_GATEWAY.into_iter().filter(|name| !FOR_ASKING.contains(name)).collect();
        without(without(command, &hidden), &ONLY_LOGIN)
    };
    let only = |command: clap::Command, shown: &[&str]| {
        command.mut_args(|arg| {
            let is_shown = arg.get_help_heading().is_none() || shown.contains(&arg.get_id().as_str());
            if is_shown { arg } else { arg.hide(true) }
        })
    };
    let only_asking = |command: clap::Command| only(command, &FOR_ASKING);
    let of_store = |command: clap::Command| {
        let about_stores = |command: clap::Command, name| command.mut_subcommand(name, |sub| only(sub, &FOR_STORE));
        STORE_COMMANDS.into_iter().fold(command, about_stores)
    };
    let of_secret = |command: clap::Command| {
        let about_secrets = |command: clap::Command, name| command.mut_subcommand(name, |sub| only(sub, &FOR_SECRET));
        ["set", "forget"].into_iter().fold(command, about_secrets)
    };
    let exit_codes: String = exit::TABLE.iter().map(|(code, meaning)| format!("\n  {code:>3}  {meaning}")).collect();
    Cli::command()
        .after_long_help(format!("{AFTER_HELP}\n\nExit codes:{exit_codes}"))
        .mut_args(hide)
        .mut_subcommand("token", only_tokens)
        .mut_subcommand("exec", only_tokens)
        .mut_subcommand("api", only_tokens)
        .mut_subcommand("login", only_login)
        .mut_subcommand("gateway", only_gateway)
        .mut_subcommand("ready", only_asking)
        .mut_subcommand("doctor", of_doctor)
        .mut_subcommand("clock", only_tokens)
        .mut_subcommand("explain", only_asking)
        .mut_subcommand("store", of_store)
        .mut_subcommand("secret", of_secret)
}

/// Settings that the help of the other commands does not show.
const ONLY_GATEWAY: [&str; 13] = [
    "upstream-timeout",
    "listen",
    "admin-listen",
    "callers",
    "admin-callers",
    "caller-secret-file",
    "allowed-host",
    "allow-origin",
    "verdict-header",
    "broker",
    "rate-limited",
    "rate-limit",
    "caller-weights",
];

/// Settings that only a login needs.
const ONLY_LOGIN: [&str; 3] = ["authorize-url", "device-url", "redirect-uri"];

/// Settings of a store. Those of a client are read as well, to mark its credential.
const FOR_STORE: [&str; 11] = [
    "config",
    "profile",
    "env-file",
    "store",
    "store-key-file",
    "store-key-in",
    "store-passphrase-file",
    "lease-ttl",
    "ca-file",
    "allow-insecure-http",
    "log",
];

const STORE_COMMANDS: [&str; 4] = ["list", "show", "move", "forget"];

/// Settings that say whose secret it is, and where it belongs.
const FOR_SECRET: [&str; 7] =
    ["config", "profile", "env-file", "client-id", "client-secret-in", "client-secret-next-in", "log"];

/// Settings of a command that asks a running gateway.
const FOR_ASKING: [&str; 6] = ["config", "profile", "env-file", "admin-listen", "caller-secret-file", "log"];

/// A secret as a flag, whatever was written after it.
fn secret_flag(error: &clap::Error) -> Option<Failure> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = flag.split('=').next().unwrap_or(flag);
    let spec = SPECS.iter().find(|spec| spec.is_secret() && spec.flag() == flag)?;
    let failure = Failure::new(exit::USAGE, format!("`{flag}` is no flag: a secret never is"))
        .at(flag)
        .because("every user of this machine can read the command lines of all programs");
    Some(match spec.kind {
        Kind::Secret => failure.hint(secret_hint(spec)),
        Kind::ForeignSecret | Kind::Text | Kind::List | Kind::Switch => {
            failure.hint(format!("set {}", Setting::AccessToken.spec().also.join(" or ")))
        }
    })
}

fn cause(text: &str) -> Result<String, String> {
    let names = || Cause::ALL.into_iter().map(Cause::name);
    if names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(match nearest(text, names()) {
        Some(name) => format!("no cause has this name; did you mean `{name}`?"),
        None => format!("no cause has this name; there are {}", names().collect::<Vec<_>>().join(", ")),
    })
}

fn moment(text: &str) -> Result<Wall, &'static str> {
    parse_moment(text).ok_or("a time has a date and a zone, as 2026-11-28T22:43:10Z or 2026-11-28T23:43:10+01:00")
}

fn span(text: &str) -> Result<Span, duration::DurationError> {
    duration::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, Stop> {
        Cli::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command_and_after_wins() {
        let cli = read("evergrant --region a --profile p token --region b").unwrap();
        let Command::Token(args) = cli.command else { panic!("not the token command") };
        assert_eq!(args.flags.values[&(Setting::Region, false)].value, "b");
        assert_eq!(args.flags.profile.as_deref(), Some("p"));
    }

    #[test]
    fn exec_leaves_the_flags_of_its_command_alone() {
        for line in ["evergrant exec --gateway -- curl --region x", "evergrant exec --gateway curl --region x"] {
            let Command::Exec(args) = read(line).unwrap().command else { panic!("not the exec command") };
            assert_eq!(args.command, ["curl", "--region", "x"]);
            assert!(args.gateway && args.flags.values.is_empty());
        }
    }

    #[test]
    fn a_secret_as_a_flag_is_explained_and_not_repeated() {
        for line in [
            "evergrant token --client-secret hunter2",
            "evergrant token --client-secret=hunter2",
            "evergrant --refresh-token=hunter2 token",
            "evergrant gateway --store-key hunter2",
            "evergrant store list --store-passphrase=hunter2",
            "evergrant exec --access-token hunter2 -- true",
        ] {
            let Err(Stop::Failure(failure)) = read(line) else { panic!("{line}: not explained") };
            assert_eq!(failure.code, exit::USAGE);
            assert!(!failure.plain().contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn a_switch_needs_no_value_and_takes_one() {
        for (line, value) in [("--allow-volatile", "true"), ("--allow-volatile=false", "false")] {
            let Command::Token(args) = read(&format!("evergrant token {line}")).unwrap().command else {
                panic!("not the token command")
            };
            assert_eq!(args.flags.values[&(Setting::AllowVolatile, false)].value, value);
        }
    }

    #[test]
    fn a_list_may_be_given_flag_by_flag() {
        let line = "evergrant gateway --allow-origin https://a.example --allow-origin https://b.example";
        let Command::Gateway(args) = read(line).unwrap().command else { panic!("not the gateway command") };
        assert_eq!(args.flags.values[&(Setting::AllowOrigin, false)].value, "https://a.example,https://b.example");
    }
}
