//! One run of the built binary: what it printed, how it ended, what it took.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::wait::{self, Tick};

/// A run that is still going on. Killed where a test drops it.
pub struct Running {
    line: String,
    child: Child,
    began: Instant,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    peak_kib: u64,
}

/// A run that has ended.
pub struct Run {
    /// The command line, for messages.
    pub line: String,
    /// The result.
    pub stdout: String,
    /// The talk.
    pub stderr: String,
    /// Both, one after the other, as they came.
    pub bytes: Vec<u8>,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// From start to end.
    pub took: Duration,
    /// The most memory that was resident at a time, as the kernel counts it.
    pub peak_kib: u64,
}

/// The binary as it is released, where `MTLS_RELEASED` names one. Without it the tests run what was built with them, a
/// build for debugging: that one is larger and slower, which says nothing.
pub fn released() -> Option<PathBuf> {
    std::env::var_os("MTLS_RELEASED").map(|path| std::path::absolute(path).expect("MTLS_RELEASED is a path"))
}

impl Running {
    /// Starts the binary with `args`. Nothing of the caller's environment that could choose a cluster gets through.
    pub fn start(args: &[&str], home: &Path) -> Self {
        let mut child = Command::new(released().unwrap_or_else(|| env!("CARGO_BIN_EXE_mtls").into()))
            .args(args)
            .env_clear()
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built binary starts");
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Self {
            line: format!("mtls {}", args.join(" ")),
            child,
            began: Instant::now(),
            stdout: Some(stdout),
            stderr: Some(stderr),
            peak_kib: 0,
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.peak_kib = self.peak_kib.max(resident_peak(self.child.id()));
        self.child.try_wait().expect("a child can be asked").is_some()
    }

    /// Ends it as a power cut would: no handler runs.
    pub fn kill(mut self) -> Run {
        self.child.kill().expect("a child can be killed");
        self.ended()
    }

    /// Asks it to stop by a signal: `INT` as Ctrl-C does, `TERM` as a CI job that is cancelled, `HUP` as a terminal that
    /// is closed.
    pub fn interrupt(&self, signal: &str) {
        let done = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "{} could not be interrupted", self.line);
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Run {
        let line = self.line.clone();
        wait::until_with(Duration::from_secs(420), Tick::Short, format!("the end of `{line}`"), || {
            self.has_ended().then_some(())
        });
        self.ended()
    }

    fn ended(&mut self) -> Run {
        let status = self.child.wait().expect("a child can be waited for");
        let read = |reader: Option<JoinHandle<Vec<u8>>>| reader.map(|r| r.join().expect("a reader ends"));
        let [stdout, stderr] = [&mut self.stdout, &mut self.stderr].map(|r| read(r.take()).unwrap_or_default());
        Run {
            line: self.line.clone(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes: [stdout, stderr].concat(),
            code: status.code(),
            took: self.began.elapsed(),
            peak_kib: self.peak_kib,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// Asserts that it ended with 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that stdout or stderr has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.has(text), "nothing says {text:?}: {self}");
        self
    }

    /// Whether stdout or stderr has `text`.
    pub fn has(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }

    /// Stdout as the one JSON document that it must be.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("stdout is no JSON ({why}): {self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        writeln!(f, "\n$ {}\n  ended with {code} after {:.1} s", self.line, self.took.as_secs_f64())?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            text.lines().try_for_each(|line| writeln!(f, "  {name}| {line}"))?;
        }
        Ok(())
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// `VmHWM` of `/proc/PID/status`; 0 once the process has ended.
fn resident_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
