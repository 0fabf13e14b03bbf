//! Every flag and its help text. A command line that `dapr mtls` or `dapr status -k` takes means the same here.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum, value_parser};
use jiff::SignedDuration;

use crate::duration;
use crate::mesh::DISTRIBUTED;

/// Shows, renews and rotates the certificates under a Dapr service mesh without one failed call.
///
/// Works on the Dapr of a Kubernetes cluster, or with `--certs-dir DIR` (`--self-hosted`) on the directory of a
/// self-hosted one.
#[derive(Clone, Debug, Parser)]
#[command(name = "mtls", version, infer_long_args = false, args_override_self = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Where to work and how to talk.
    #[command(flatten)]
    pub global: Global,
    /// What to do; without one, `-k` asks whether mutual TLS is on.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  failed; nothing was changed
  2  wrong usage
  3  something needs action (`--expires-within`, `--if-expires-within`)
  4  something was changed and the rest waits in a safe phase; the same command continues
  129, 130, 143  stopped by a signal in a safe state";

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Shows the control plane, every layer of certificates, and what needs attention.
    Status(StatusArgs),
    /// Shows when the certificates of every layer expire, and who depends on them.
    Expiry(ExpiryArgs),
    /// Writes ca.crt, issuer.crt and issuer.key into a directory.
    Export(ExportArgs),
    /// Renews root and issuer while every application goes on calling every other.
    #[command(visible_aliases = ["renew-cert", "rnc", "rotate"], after_help = RENEW_EXAMPLES)]
    RenewCertificate(Box<RenewArgs>),
    /// Retires trust anchors and bridges that nobody needs any more, where that is proven.
    Prune(PruneArgs),
    /// Puts the CA on record back after Sentry invented one of its own; both stay trusted, so that calls go on.
    ///
    /// Sentry invents a CA where it finds the trust bundle torn or emptied. The issuer that is kept in the record signs
    /// again, its root cross-signed by the invented issuer, so that pods of both sides accept what it signs; those that
    /// must be restarted are named, and `mtls prune` retires the invented root later. What was damaged and not yet
    /// overwritten is published again as it was. A renewal does the same on its way to a new CA.
    Restore(RestoreArgs),
    /// Restarts the control plane in the order that keeps the mesh working, then with `--apps` the applications.
    ///
    /// An application is restarted as `kubectl rollout restart` does it: its own update strategy decides how many of its
    /// pods are replaced at once, and its readiness how fast. None is restarted while the injector might give a new pod
    /// older trust, and the next wave waits for the pods of the one before.
    Restart(RestartArgs),
    /// Prints a completion script for a shell.
    Completion(CompletionArgs),
    /// Prints a manual page, or writes all of them into a directory.
    Man(ManArgs),
}

const RENEW_EXAMPLES: &str = "\
Examples:
  mtls renew-certificate -k --valid-until 90
  mtls renew-certificate -k --dry-run
  mtls renew-certificate -k --private-key root.key
  mtls renew-certificate -k --ca-root-certificate ca.crt \\
      --issuer-public-certificate issuer.crt --issuer-private-key issuer.key
  mtls renew-certificate --certs-dir ./certs";

/// Flags that every command takes, in kubectl's spelling.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Global {
    /// Works on a Kubernetes cluster; that is the default.
    #[arg(short, long, global = true, conflicts_with_all = ["certs_dir", "self_hosted"], help_heading = PLACE,
        num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        hide_default_value = true, value_name = "BOOL", hide_possible_values = true, action = ArgAction::Set,
        value_parser = BoolishValueParser::new())]
    pub kubernetes: bool,
    /// Works on this directory of a self-hosted Dapr.
    #[arg(long, global = true, value_name = "DIR", help_heading = PLACE)]
    pub certs_dir: Option<PathBuf>,
    /// Works on `~/.dapr/certs`.
    #[arg(long, global = true, conflicts_with = "certs_dir", help_heading = PLACE)]
    pub self_hosted: bool,
    /// The kubeconfig file to use.
    #[arg(long, global = true, value_name = "FILE", help_heading = PLACE)]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig context to use.
    #[arg(long, global = true, value_name = "NAME", help_heading = PLACE)]
    pub context: Option<String>,
    /// The namespace of Dapr's control plane, if there are several.
    #[arg(short, long, global = true, value_name = "NAMESPACE", help_heading = PLACE)]
    pub namespace: Option<String>,
    /// The user to act as.
    #[arg(long = "as", global = true, value_name = "USER", help_heading = PLACE)]
    pub as_user: Option<String>,
    /// A group to act as; may be repeated.
    #[arg(long, global = true, value_name = "GROUP", help_heading = PLACE)]
    pub as_group: Vec<String>,
    /// How long one request to the API server may take; 0 sets no limit.
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse, help_heading = PLACE)]
    pub request_timeout: Option<SignedDuration>,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = TALK)]
    pub color: Color,
    /// Says less on stderr: errors and warnings only.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = TALK)]
    pub quiet: bool,
    /// Says more on stderr; twice: every request.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = TALK)]
    pub verbose: u8,
    /// Answers every question with yes.
    #[arg(short, long, global = true, help_heading = TALK)]
    pub yes: bool,
    /// Accepted as `dapr` has it, without effect.
    #[arg(long, global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "BOOL")]
    pub log_as_json: Option<String>,
    /// Accepted as `dapr` has it, without effect.
    #[arg(long, global = true, hide = true, alias = "dapr-path", value_name = "DIR")]
    pub runtime_path: Option<String>,
}

const PLACE: &str = "Where";
const TALK: &str = "How to talk";

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that can show it, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a result is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct ShowArgs {
    /// The form of the result on stdout.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = TALK)]
    pub output: Format,
    /// Leaves the heads of tables out.
    #[arg(long, help_heading = TALK)]
    pub no_headers: bool,
}

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document, as described in docs/schema.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Arguments of `status`.
#[derive(Args, Clone, Debug, Default)]
pub struct StatusArgs {
    /// Exits with 3 if something that is needed expires within this time.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires_within: Option<SignedDuration>,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `expiry`.
#[derive(Args, Clone, Debug, Default)]
pub struct ExpiryArgs {
    /// Exits with 3 if something that is needed expires within this time.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub expires_within: Option<SignedDuration>,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The directory to write into; made if it is not there.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// Arguments of `renew-certificate`.
#[derive(Args, Clone, Debug)]
pub struct RenewArgs {
    /// Makes the new root with this key. The live root's own key renews that root. Beside certificates of your own it
    /// has no effect, as in `dapr`.
    #[arg(long, value_name = "FILE", help_heading = BRING)]
    pub private_key: Option<PathBuf>,
    /// Brings a root of your own; the other two go with it.
    #[arg(long, value_name = "FILE", requires_all = ["issuer_public_certificate", "issuer_private_key"],
        help_heading = BRING)]
    pub ca_root_certificate: Option<PathBuf>,
    /// The issuer's certificate, with its chain if it has one.
    #[arg(long, value_name = "FILE", requires_all = ["ca_root_certificate", "issuer_private_key"],
        help_heading = BRING)]
    pub issuer_public_certificate: Option<PathBuf>,
    /// The issuer's private key.
    #[arg(long, value_name = "FILE", requires_all = ["ca_root_certificate", "issuer_public_certificate"],
        help_heading = BRING)]
    pub issuer_private_key: Option<PathBuf>,
    /// How many days new certificates live; units such as `12h` are taken too.
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = duration::parse_days,
        help_heading = BRING)]
    pub valid_until: SignedDuration,
    /// The trust domain of the first CA in a directory that has none yet [default: cluster.local].
    #[arg(long, value_name = "DOMAIN", help_heading = BRING)]
    pub trust_domain: Option<String>,

    /// How to get there.
    #[arg(long, value_name = "STRATEGY", default_value = "auto")]
    pub strategy: StrategyArg,
    /// Restarts the control plane afterwards, in order: all of it, or only what holds older trust; or all of it and then
    /// the applications, in waves. An append waits for them and then switches.
    #[arg(long, value_name = "SERVICES", num_args = 0..=1, require_equals = true,
        default_missing_value = "control-plane")]
    pub restart: Option<RestartScope>,
    /// How many applications are restarted at once.
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = value_parser!(u16).range(1..))]
    pub max_parallel: u16,
    /// Shows what would be done. Reads and probes only.
    #[arg(long)]
    pub dry_run: bool,
    /// Continues the rotation that is open, whatever its inputs were.
    #[arg(long, conflicts_with_all = ["private_key", "ca_root_certificate", "abort", "if_expires_within"])]
    pub resume: bool,
    /// Puts the previous issuer back while that is safe; trust anchors stay.
    #[arg(long, conflicts_with_all = ["private_key", "ca_root_certificate", "if_expires_within", "restart"])]
    pub abort: bool,
    /// Does nothing unless the issuer in use or its root expires within this time.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub if_expires_within: Option<SignedDuration>,
    /// How it goes about it.
    #[command(flatten)]
    pub conduct: Conduct,
    /// Stops before any write unless this is the mesh's trust domain.
    #[arg(long, value_name = "DOMAIN", help_heading = GUARD)]
    pub expect_trust_domain: Option<String>,
    /// Stops before any write unless the root in use has this SHA-256 fingerprint.
    #[arg(long, value_name = "SHA256", help_heading = GUARD)]
    pub expect_root: Option<String>,

    /// Keeps the key of a new root in this file, written before the first change; it is dropped otherwise.
    #[arg(long, value_name = "FILE", help_heading = KEEP)]
    pub root_key_out: Option<PathBuf>,
    /// Keeps the previous ca.crt, issuer.crt and issuer.key in this directory, written before the first change.
    #[arg(long, value_name = "DIR", help_heading = KEEP)]
    pub output_dir: Option<PathBuf>,

    /// Lets an append switch although this many consumers would refuse the new chain. Each is named first.
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true, require_equals = true,
        conflicts_with_all = ["restart", "abort"], help_heading = GUARD)]
    pub force: usize,

    /// Accepted as `dapr` has it, without effect: no image is changed.
    #[arg(long, hide = true, value_name = "VARIANT")]
    pub image_variant: Option<String>,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

const BRING: &str = "What to bring";
const GUARD: &str = "Guards";
const KEEP: &str = "What to keep";

/// How a rotation gets there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// The first that is safe: one without restarts before the switch, or else `append`.
    #[default]
    Auto,
    /// A new issuer under the live root.
    Issuer,
    /// A new root with the live root's key beside it.
    SameKey,
    /// A new root, cross-signed by the live issuer.
    Bridge,
    /// A new root beside the old one; the issuer follows once everybody was restarted into it.
    Append,
    /// New trust at once; calls fail until everything has restarted.
    Replace,
}

/// What is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RestartScope {
    /// All of the control plane.
    #[value(aliases = ["true", "True", "TRUE", "t", "T", "1"])]
    ControlPlane,
    /// Only what of it is not proven to hold the new trust.
    Stale,
    /// All of the control plane, then the applications.
    All,
    /// None.
    #[value(name = "false", aliases = ["False", "FALSE", "f", "F", "0"], hide = true)]
    Off,
}

/// How a command that publishes goes about it, whatever it publishes.
#[derive(Args, Clone, Debug)]
pub struct Conduct {
    /// How long each rollout, and the wait for a quiet Sentry, may take.
    #[arg(long, value_name = "DURATION", default_value = "300", value_parser = duration::parse)]
    pub timeout: SignedDuration,
    /// How long to wait for each proof that a process took what was published.
    #[arg(long, value_name = "DURATION", default_value = "60", value_parser = duration::parse)]
    pub propagation_wait: SignedDuration,
    /// Whether Sentry's right to overwrite the pair is taken away during the trust write.
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = GUARD)]
    pub fence: FenceArg,
    /// The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces.
    #[arg(long, value_name = "SECRET", default_value = DISTRIBUTED)]
    pub trust_source: String,
    /// Writes although a continuous reconciler such as Argo CD owns the objects.
    #[arg(long, help_heading = GUARD)]
    pub ignore_owners: bool,
}

/// Whether to fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FenceArg {
    /// Where the caller may.
    #[default]
    Auto,
    /// Never: waits for Sentry to be at rest instead.
    Never,
}

/// Arguments of `prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneArgs {
    /// Goes on although this many consumers are not proven to be ready: they may refuse calls then. Each is named first;
    /// a token validator or another mesh's trust anchor counts as one.
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true, require_equals = true,
        help_heading = GUARD)]
    pub force: usize,
    /// Shows what would be retired. Reads and probes only.
    #[arg(long)]
    pub dry_run: bool,
    /// How it goes about it.
    #[command(flatten)]
    pub conduct: Conduct,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// Shows what would be published. Reads and probes only.
    #[arg(long)]
    pub dry_run: bool,
    /// How it goes about it.
    #[command(flatten)]
    pub conduct: Conduct,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `restart`.
#[derive(Args, Clone, Debug)]
pub struct RestartArgs {
    /// Leaves alone what is proven to hold the live trust.
    #[arg(long)]
    pub stale: bool,
    /// Restarts the applications too, in waves: whatever has a sidecar of this control plane.
    #[arg(long)]
    pub apps: bool,
    /// Restarts applications in this namespace only; may be repeated.
    #[arg(long, value_name = "NAMESPACE", requires = "apps")]
    pub app_namespace: Vec<String>,
    /// Restarts only applications whose workload has these labels, such as `tier=web,team!=x`.
    #[arg(short = 'l', long, value_name = "LABELS", requires = "apps")]
    pub selector: Option<String>,
    /// How many applications are restarted at once.
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = value_parser!(u16).range(1..))]
    pub max_parallel: u16,
    /// Shows what would be restarted.
    #[arg(long)]
    pub dry_run: bool,
    /// How long each rollout may take.
    #[arg(long, value_name = "DURATION", default_value = "300", value_parser = duration::parse)]
    pub timeout: SignedDuration,
    /// How the result is shown.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Arguments of `completion`.
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: Shell,
}

/// The shells that have a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
}

/// Arguments of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The command to print the page of; the tool's own without one.
    pub command: Option<String>,
    /// Writes the pages of all commands into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub out: Option<PathBuf>,
}

impl Cli {
    /// Whether what was parsed makes sense together. Errors are usage errors, in clap's own form.
    pub fn check(&self) -> Result<(), clap::Error> {
        let Some(Command::RenewCertificate(renew)) = &self.command else {
            return Ok(());
        };
        if renew.if_expires_within.is_some_and(|window| window >= renew.valid_until) {
            let why = "`--valid-until` lies within `--if-expires-within`: every run would renew again";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        let restarts = renew.restart.is_some_and(|scope| scope != RestartScope::Off);
        if restarts && self.global.is_directory() {
            let why = "`--restart` goes with a cluster; restart the processes that read a directory yourself";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        if renew.trust_domain.is_some() && !self.global.is_directory() {
            let why = "`--trust-domain` goes with `--certs-dir` or `--self-hosted`; a cluster has its own";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, why));
        }
        Ok(())
    }
}

impl Global {
    /// Whether the place to work on is a directory.
    pub fn is_directory(&self) -> bool {
        self.certs_dir.is_some() || self.self_hosted
    }
}

#[cfg(test)]
mod tests;
