//! What `exec` is told.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use evergrant_core::time::Span;

use super::span;
use crate::settings::flags::Flags;

/// `evergrant exec`.
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Run a private gateway for the command and set EVERGRANT_GATEWAY_URL; it then gets a handle in place of the token
    #[arg(long)]
    pub(crate) gateway: bool,
    /// Also keep the token in a private file, replaced at each refresh; EVERGRANT_ACCESS_TOKEN_FILE names it
    #[arg(long)]
    pub(crate) token_file: bool,
    /// Write the settings files of Genesys Cloud's SDKs, with the gateway in them; EVERGRANT_SDK_CONFIG names their folder
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "folder",
        requires = "gateway"
    )]
    pub(crate) sdk_config: Option<SdkConfig>,
    /// Print which variables and files the command would get; starts nothing and asks for no token
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: print a JSON object
    #[arg(long, requires = "dry_run")]
    pub(crate) json: bool,
    /// Refresh a token that has less than this left, as 10m
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub(crate) min_remaining: Option<Span>,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// The command and its arguments
    #[arg(required_unless_present = "dry_run", trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Where the SDKs find their settings files.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SdkConfig {
    /// In a private folder
    Folder,
    /// In a private folder with links to all that is in your home folder, which is the command's HOME
    Home,
}
