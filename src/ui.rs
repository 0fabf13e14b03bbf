//! Whatever a person or a pipe gets to see: the sole owner of stdout, stderr, colour, questions and progress.

use std::error::Error as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::{Color, Format, Global, ShowArgs};
use crate::duration::in_words;
use crate::error::Error;
use crate::mesh::{Finding, Severity};
use crate::rotation::{Event, Progress};
use crate::text;

const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();
const PLAIN: Style = Style::new();

/// Results go to stdout, talk to stderr. Everything that is shown passes through here, and control characters are
/// shown instead of obeyed.
///
/// A reader that goes away (`| head -1`) is no error: what would follow is dropped. Clones share the streams and the
/// bar.
#[derive(Clone)]
pub struct Ui {
    stdout: ColorChoice,
    stderr: ColorChoice,
    quiet: bool,
    verbose: u8,
    animated: bool,
    now: Arc<State>,
}

/// # Why
/// Requests are told of from wherever they are sent, the renewals of the lock included: this crosses threads.
struct State {
    closed: AtomicBool,
    moving: Mutex<Moving>,
}

/// The move that is being made.
struct Moving {
    bar: Option<ProgressBar>,
    since: Instant,
    /// How many tenths of the namespaces had the trust bundle when that was said last.
    tenth: usize,
}

impl Ui {
    /// For these flags and the streams that the process has.
    pub fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, verbose: global.verbose, ..Self::with_color(global.color) }
    }

    /// Before the flags are known.
    pub fn with_color(color: Color) -> Self {
        let choice = |auto: ColorChoice| match color {
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
            Color::Auto => auto,
        };
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            stdout: choice(AutoStream::choice(&io::stdout())),
            stderr: choice(AutoStream::choice(&io::stderr())),
            quiet: false,
            verbose: 0,
            animated: io::stderr().is_terminal() && !dumb,
            now: Arc::new(State {
                closed: AtomicBool::new(false),
                moving: Mutex::new(Moving { bar: None, since: Instant::now(), tenth: usize::MAX }),
            }),
        }
    }

    /// Prints a line of the result, or several. Errors if stdout can't take it, a full disk for example.
    pub fn line(&self, result: &str) -> Result<(), Error> {
        self.data(&[(PLAIN, result.trim_end_matches('\n'))])
    }

    /// Prints a result in the form that was asked for: `table` makes it for people.
    pub fn show<T: Serialize>(&self, show: &ShowArgs, result: &T, table: impl FnOnce() -> String) -> Result<(), Error> {
        let encoded = match show.output {
            Format::Table => Ok(table()),
            Format::Json => serde_json::to_string_pretty(result).map_err(|why| why.to_string()),
            Format::Yaml => serde_saphyr::to_string(result).map_err(|why| why.to_string()),
        };
        self.line(&encoded.map_err(|why| Error::failed("the result could not be encoded").because(why))?)
    }

    /// Prints a line that scripts for `dapr` look for; never beside a document.
    pub fn dapr_line(&self, show: &ShowArgs, line: &str) -> Result<(), Error> {
        if show.output == Format::Table { self.line(line) } else { Ok(()) }
    }

    /// Prints bytes of our own making as they are: a script, a manual page.
    pub fn document(&self, bytes: &[u8]) -> Result<(), Error> {
        self.stdout(|stdout| stdout.write_all(bytes))
    }

    /// Prints something that needs attention as a part of the result: its severity first, in colour.
    pub fn finding(&self, finding: &Finding) -> Result<(), Error> {
        let style = match finding.severity {
            Severity::Error => BAD,
            Severity::Warning => ODD,
            Severity::Note => DIM,
        };
        let Finding { what, means, hint, .. } = finding;
        self.data(&[(style, finding.severity.word()), (PLAIN, ": "), (PLAIN, &text::one_line(what))])?;
        self.data(&[(PLAIN, "  "), (PLAIN, &text::one_line(means))])?;
        if hint.is_empty() {
            return Ok(());
        }
        self.data(&[(GOOD, "  hint"), (PLAIN, ": "), (PLAIN, hint)])
    }

    /// Says one line about what goes on.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.talk(&[(PLAIN, &text::one_line(line))]);
        }
    }

    /// Says one line that only `-v` (1) or `-vv` (2) asks for.
    pub fn detail(&self, level: u8, line: &str) {
        if self.verbose >= level {
            self.talk(&[(DIM, &text::one_line(line))]);
        }
    }

    /// Says what speaks against going on; also with `--quiet`.
    pub fn warn(&self, line: &str) {
        self.talk(&[(ODD, "warning"), (PLAIN, ": "), (PLAIN, &text::lines(line))]);
    }

    /// Says a way out.
    pub fn hint(&self, hint: &str) {
        self.talk(&[(GOOD, "hint"), (PLAIN, ": "), (PLAIN, &text::lines(hint))]);
    }

    /// Says what failed, what caused it, and the ways out.
    pub fn error(&self, error: &Error) {
        self.end();
        self.talk(&[(BAD, "error"), (PLAIN, ": "), (PLAIN, &text::one_line(&error.to_string()))]);
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let why = source.to_string();
            if !said.contains(&why) {
                self.talk(&[(DIM, "  caused by"), (PLAIN, ": "), (PLAIN, &text::one_line(&why))]);
            }
            said = why;
            cause = source.source();
        }
        for hint in error.hints() {
            self.hint(hint);
        }
    }

    /// Shows what clap has to say: help on stdout, a usage error on stderr.
    pub fn clap(&self, message: &clap::Error) {
        let text = message.render().ansi().to_string();
        let (stdout, stderr) = (self.stdout, self.stderr);
        // Why: nobody is left to be told that a usage message could not be written.
        let _ = if message.use_stderr() {
            AutoStream::new(io::stderr().lock(), stderr).write_all(text.as_bytes())
        } else {
            AutoStream::new(io::stdout().lock(), stdout).write_all(text.as_bytes())
        };
    }

    /// Shows the help where no command was given, which is a usage error: on stderr.
    pub fn help(&self, cli: &mut clap::Command) {
        let help = cli.render_help().ansi().to_string();
        // Why: nobody is left to be told that it could not be written.
        let _ = AutoStream::new(io::stderr().lock(), self.stderr).write_all(help.as_bytes());
    }

    /// Asks for a yes, which `--yes` is. Errors without one; without a terminal nobody can be asked, which is a usage
    /// error.
    pub fn confirm(&self, question: &str, yes: bool) -> Result<(), Error> {
        if yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            let error = Error::usage("this needs a confirmation, and there is no terminal to ask on");
            return Err(error.hint("add `--yes` if it is what you want"));
        }
        self.hidden(|| {
            let mut stderr = AutoStream::new(io::stderr().lock(), self.stderr);
            let asked = write!(stderr, "{} [y/N] ", text::one_line(question)).and_then(|()| stderr.flush());
            let mut answer = String::new();
            let answered = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
            answered.map_err(|why| Error::failed("the question could not be asked").because(why))?;
            match answer.trim().to_lowercase().as_str() {
                "y" | "yes" => Ok(()),
                _ => Err(Error::failed("not confirmed; nothing was changed")),
            }
        })
    }

    /// Begins a piece of work of so many moves: a bar on a terminal, nothing elsewhere.
    pub fn begin(&self, moves: usize) {
        if !self.animated || self.quiet {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(moves as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} [{pos}/{len}] {wide_msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(100));
        self.moving(|moving| moving.bar = Some(bar));
    }

    /// Shows what a rotation does: on the bar where there is one, else one line each.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Moving(what) => {
                self.moving(|moving| moving.since = Instant::now());
                self.busy(&text::one_line(what), what);
            }
            Event::Restarting(_) => {}
            Event::Moved(what) => {
                let took = format!("{:.1} s", self.moving(|moving| moving.since.elapsed()).as_secs_f64());
                if let Some(bar) = self.bar() {
                    bar.set_length(bar.length().unwrap_or(0).max(bar.position() + 1));
                    bar.inc(1);
                    self.talk(&[
                        (GOOD, "done"),
                        (PLAIN, ": "),
                        (PLAIN, &text::one_line(what)),
                        (DIM, &format!(" ({took})")),
                    ]);
                } else {
                    self.say(&format!("  done in {took}"));
                }
            }
            Event::Waiting(what) => {
                let line = format!("waiting for {what}");
                self.busy(&text::one_line(&line), &line);
            }
            Event::Propagated(progress) => self.propagated(progress),
            Event::Noticed(what) => self.warn(&text::one_line(what)),
        }
    }

    /// Ends the work that `begin` began.
    pub fn end(&self) {
        if let Some(bar) = self.moving(|moving| moving.bar.take()) {
            bar.finish_and_clear();
        }
    }

    fn busy(&self, on_the_bar: &str, line: &str) {
        match self.bar() {
            Some(bar) => bar.set_message(on_the_bar.to_owned()),
            None => self.say(line),
        }
    }

    /// On the bar every change; where each is a line of its own, every tenth of the way.
    fn propagated(&self, progress: &Progress) {
        let Progress { done, total, pace } = progress;
        let pace = pace.filter(|_| done < total).map_or_else(String::new, |(a_minute, left)| {
            format!(", {a_minute} a minute, about {} more", in_words(left))
        });
        let line = format!("{done} of {total} namespaces have it{pace}");
        let tenth = done * 10 / (*total).max(1);
        let is_new = self.moving(|moving| std::mem::replace(&mut moving.tenth, tenth) != tenth);
        if self.bar().is_some() || is_new {
            self.busy(&line, &format!("  {line}"));
        }
    }

    fn moving<T>(&self, with: impl FnOnce(&mut Moving) -> T) -> T {
        with(&mut self.now.moving.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn bar(&self) -> Option<ProgressBar> {
        self.moving(|moving| moving.bar.clone())
    }

    fn data(&self, parts: &[(Style, &str)]) -> Result<(), Error> {
        self.stdout(|stdout| write_parts(stdout, parts))
    }

    fn stdout(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        if self.now.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let written = self.hidden(|| {
            let mut stdout = AutoStream::new(io::stdout().lock(), self.stdout);
            write(&mut stdout).and_then(|()| stdout.flush())
        });
        match written {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {
                self.now.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(|why| Error::failed("stdout could not be written").because(why)),
        }
    }

    fn talk(&self, parts: &[(Style, &str)]) {
        // Why: with stderr gone there is nobody to tell, and the work itself must not stop for it.
        let _ = self.hidden(|| write_parts(&mut AutoStream::new(io::stderr().lock(), self.stderr), parts));
    }

    fn hidden<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn write_parts(out: &mut (impl Write + ?Sized), parts: &[(Style, &str)]) -> io::Result<()> {
    for (style, part) in parts {
        write!(out, "{style}{}{style:#}", text::lines(part))?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_move_the_cursor() {
        let mut out = Vec::new();
        write_parts(&mut out, &[(BAD, "error"), (PLAIN, ": \x1b[2Jgone")]).expect("memory takes it");
        let shown = String::from_utf8(out).expect("it is text");
        assert!(!shown.contains("\x1b[2J"), "{shown:?}");
        assert!(shown.ends_with(": \\u{1b}[2Jgone\n"), "{shown:?}");
    }
}
