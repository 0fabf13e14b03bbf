//! Command lines: those of dapr mean the same, contradictions are refused.

use rstest::rstest;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(line.split_whitespace())?;
    cli.check()?;
    Ok(cli)
}

fn renew(line: &str) -> RenewArgs {
    match parse(line).expect(line).command {
        Some(Command::RenewCertificate(args)) => *args,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[rstest]
#[case("mtls -k")]
#[case("mtls --kubernetes")]
#[case("mtls --kubernetes=true")]
#[case("mtls -k=true --log-as-json --runtime-path /opt")]
#[case("mtls status -k")]
#[case("mtls -k status")]
#[case("mtls --log-as-json=true -k expiry")]
#[case("mtls export -k -o ./certs")]
#[case("mtls renew-certificate -k --valid-until 90 --restart")]
#[case("mtls -k renew-certificate -k --valid-until 90 --valid-until 30 --restart --restart=false")]
#[case("mtls rnc -k --private-key k --ca-root-certificate c --issuer-public-certificate i --issuer-private-key p")]
fn dapr_lines_mean_kubernetes(#[case] line: &str) {
    assert!(parse(line).expect(line).global.kubernetes, "{line}");
}

#[rstest]
#[case("mtls expiry")]
#[case("mtls export --out=./certs")]
#[case("mtls export -o=./certs")]
#[case("mtls rnc --image-variant mariner")]
#[case("mtls completion zsh")]
fn lines_without_a_place_parse(#[case] line: &str) {
    assert!(!parse(line).expect(line).global.is_directory(), "{line}");
}

#[rstest]
#[case("", None)]
#[case("--restart", Some(RestartScope::ControlPlane))]
#[case("--restart=true", Some(RestartScope::ControlPlane))]
#[case("--restart=control-plane", Some(RestartScope::ControlPlane))]
#[case("--restart=stale", Some(RestartScope::Stale))]
#[case("--restart=all", Some(RestartScope::All))]
#[case("--restart=false", Some(RestartScope::Off))]
#[case("--restart --timeout 600", Some(RestartScope::ControlPlane))]
fn restart_is_a_flag_and_a_choice(#[case] flags: &str, #[case] wanted: Option<RestartScope>) {
    assert_eq!(renew(&format!("mtls renew-certificate -k {flags}")).restart, wanted);
}

#[rstest]
#[case("renew-certificate")]
#[case("renew-cert")]
#[case("rnc")]
#[case("rotate")]
fn renewing_has_daprs_names_and_defaults(#[case] name: &str) {
    let args = renew(&format!("mtls {name} -k"));
    assert_eq!(args.valid_until, SignedDuration::from_hours(365 * 24));
    assert_eq!(args.conduct.timeout, SignedDuration::from_secs(300));
    assert_eq!(args.strategy, StrategyArg::Auto);
}

#[rstest]
#[case("mtls rotate --private-key a.key --ca-root-certificate ca.crt")]
#[case("mtls rotate --certs-dir . --restart")]
#[case("mtls rotate -k --restart=all --max-parallel 0")]
#[case("mtls restart -l tier=web")]
#[case("mtls restart --app-namespace shop")]
#[case("mtls rotate --ca-root-certificate ca.crt")]
#[case("mtls rotate --issuer-private-key k --issuer-public-certificate c")]
#[case("mtls rotate --resume --abort")]
#[case("mtls rotate --valid-until 20 --if-expires-within 30d")]
#[case("mtls rotate --trust-domain example.org")]
#[case("mtls rotate --timeout soon")]
#[case("mtls status -k --certs-dir .")]
#[case("mtls rotate --self-hosted --certs-dir .")]
#[case("mtls rotate --strategy retire")]
#[case("mtls rotate --strategy restore")]
#[case("mtls restore --valid-until 90")]
#[case("mtls frobnicate")]
fn contradictions_are_usage_errors(#[case] line: &str) {
    assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
}
