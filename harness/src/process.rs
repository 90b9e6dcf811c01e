//! A child process, or a container, that is watched, can be stopped in every way there is, and never outlives its owner.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::{containers, http, wait};

/// Lines kept in memory; the log file has all of them.
const KEPT_LINES: usize = 20_000;

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Start {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    directory: Option<PathBuf>,
    container: Option<String>,
}

impl Start {
    /// `program`, called `name` in messages, its output also in the file `log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            log: log.into(),
            directory: None,
            container: None,
        }
    }

    /// One more argument.
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment, besides what it inherits.
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The directory it runs in.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The program is attached to this container: what is done to the process is done to the container.
    pub fn attached_to(mut self, container: &str) -> Self {
        self.container = Some(container.to_owned());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the program cannot be run or the log not be written.
    pub fn run(self) -> Result<Process> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C at the terminal reaches the owner, and the owner ends its children in order.
        command.kill_on_drop(true).process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let mut child =
            command.spawn().with_context(|| format!("cannot run {} ({})", self.name, self.program.display()))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} ended at once", self.name))?;
        let output = Output(Arc::new(Mutex::new(Kept { lines: Vec::new(), log })));
        if let Some(stdout) = child.stdout.take() {
            output.collect(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.collect(stderr);
        }
        let watchdog = watchdog(pid, self.container.as_deref())?;
        let (name, log, container) = (self.name, self.log, self.container);
        Ok(Process { name, log, pid, container, child, output, watchdog, over: false })
    }
}

/// Ends the group of `pid`, and its container, when this process dies without having let go of it (a crash, SIGKILL): its
/// standard input then ends without a line.
fn watchdog(pid: Pid, container: Option<&str>) -> Result<(Child, ChildStdin)> {
    const SCRIPT: &str = r#"read -r _ || { kill -s KILL -- "-$1"; test -z "$2" || docker rm --force --volumes "$2"; }"#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "watchdog", &pid.as_raw_nonzero().to_string(), container.unwrap_or_default()]);
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot run sh")?;
    let stdin = child.stdin.take().context("sh has no standard input")?;
    Ok((child, stdin))
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    pid: Pid,
    container: Option<String>,
    child: Child,
    output: Output,
    watchdog: (Child, ChildStdin),
    over: bool,
}

impl Process {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The file with all its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything it has printed so far, both streams, by line.
    pub fn lines(&self) -> Vec<String> {
        self.output.kept().lines.clone()
    }

    /// The last `count` lines, for an error message.
    pub fn tail(&self, count: usize) -> String {
        let kept = self.output.kept();
        let from = kept.lines.len().saturating_sub(count);
        let mut text = String::new();
        for line in kept.lines.iter().skip(from) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        !self.over && matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the first line that starts with `start`, and returns the rest of it.
    ///
    /// # Errors
    ///
    /// When the process ends first, or the time is up; with the tail of its output.
    pub async fn line(&mut self, start: &str, within: Duration) -> Result<String> {
        let what = format!("{} to print `{start}`", self.name);
        let output = self.output.clone();
        let mut ended = false;
        let found = wait::until(&what, within, async || {
            let rest = output.kept().lines.iter().find_map(|line| line.strip_prefix(start).map(str::to_owned));
            // What it printed before it ended may arrive after its end is known: one more look.
            if rest.is_none() && ended {
                return Ok(None);
            }
            ended = !self.is_running();
            rest.map(Some).ok_or_else(|| anyhow!("\n{}", self.tail(20)))
        });
        found.await?.with_context(|| format!("{} ended before it was ready:\n{}", self.name, self.tail(20)))
    }

    /// Waits until `GET url` is answered 200.
    ///
    /// # Errors
    ///
    /// When the process ends first, or the time is up; with the tail of its output.
    pub async fn answers(&mut self, url: &str, within: Duration) -> Result<()> {
        let what = format!("{} to answer", self.name);
        let mut ended = false;
        let ready = wait::until(&what, within, async || {
            // As for a line: its last words may come late.
            if ended {
                return Ok(false);
            }
            ended = !self.is_running();
            http::get(url).await?.expect(200).map(|_| true)
        });
        match ready.await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("{} ended before it was ready:\n{}", self.name, self.tail(20)),
            Err(error) => Err(error.context(format!("{} said:\n{}", self.name, self.tail(20)))),
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not end within the time; it is killed then.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => {
                self.over().await;
                status.with_context(|| format!("cannot wait for {}", self.name))
            }
            Err(_) => {
                self.kill().await?;
                bail!("{} did not end within {within:?} of SIGTERM; it said:\n{}", self.name, self.tail(20))
            }
        }
    }

    /// Kills it (SIGKILL): it gets no chance to finish anything.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.kill_at_once();
        let waited = self.child.wait().await;
        self.over().await;
        waited.map(drop).with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Freezes it (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    ///
    /// When it is not there any more.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`freeze`](Self::freeze) (SIGCONT).
    ///
    /// # Errors
    ///
    /// When it is not there any more.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if self.over {
            bail!("{} has ended already", self.name);
        }
        let sent = match &self.container {
            None => rustix::process::kill_process(self.pid, signal).map_err(anyhow::Error::from),
            Some(container) => containers::signal(container, signal),
        };
        sent.with_context(|| format!("cannot signal {}", self.name))
    }

    fn kill_at_once(&self) {
        match &self.container {
            None => drop(rustix::process::kill_process_group(self.pid, Signal::KILL)),
            // Whoever is attached to it ends with it. It may have ended already.
            Some(container) => drop(containers::signal(container, Signal::KILL)),
        }
    }

    /// It has been waited for: its number may soon be another's, so the watchdog must let go.
    async fn over(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        self.over = true;
        let _ = self.watchdog.1.write_all(b"over\n").await;
        let _ = self.watchdog.0.wait().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still this process's. The watchdog's pipe closes with it.
        if !self.over {
            self.kill_at_once();
        }
    }
}

#[derive(Clone, Debug)]
struct Output(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    lines: Vec<String>,
    log: File,
}

impl Output {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, stream: impl AsyncRead + Unpin + Send + 'static) {
        let output = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut kept = output.kept();
                let _ = writeln!(kept.log, "{line}");
                if kept.lines.len() >= KEPT_LINES {
                    kept.lines.drain(..KEPT_LINES / 2);
                }
                kept.lines.push(line);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Start;
    use crate::directory::Directory;
    use crate::wait;

    const SOON: Duration = Duration::from_secs(5);

    fn shell(name: &str, script: &str) -> Start {
        let log = Directory::fresh(name).unwrap().join("sh.log");
        Start::new("sh", "sh", log).arguments(["-c", script])
    }

    #[tokio::test]
    async fn a_line_is_waited_for_and_a_frozen_process_thawed() {
        let mut process = shell("process-line", "echo ready at 1; sleep 60").run().unwrap();
        assert_eq!(process.line("ready at ", SOON).await.unwrap(), "1");
        process.freeze().unwrap();
        process.thaw().unwrap();
        assert!(process.is_running());
        process.kill().await.unwrap();
        assert!(!process.is_running() && process.freeze().is_err());
    }

    #[tokio::test]
    async fn the_last_words_of_a_process_that_ends_early_are_in_the_error() {
        let mut process = shell("process-early", "echo no such port >&2; exit 3").run().unwrap();
        let error = process.line("ready", SOON).await.unwrap_err().to_string();
        assert!(error.contains("ended before") && error.contains("no such port"), "{error}");
    }

    #[tokio::test]
    async fn one_that_will_not_go_is_killed() {
        let mut process =
            shell("process-stubborn", "trap '' TERM; echo ready; while :; do sleep 1; done").run().unwrap();
        process.line("ready", SOON).await.unwrap();
        assert!(process.terminate(Duration::from_millis(200)).await.is_err());
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn nothing_is_left_running_when_the_owner_dies() {
        let mut process = shell("process-orphan", "echo ready; sleep 60 & wait").run().unwrap();
        process.line("ready", SOON).await.unwrap();
        // What the end of the owner does: the watchdog's standard input ends without a line.
        let (nobody, stdin) = super::watchdog(process.pid, None).unwrap();
        drop(stdin);
        let gone = wait::until("the process to be gone", SOON, async || {
            anyhow::ensure!(!process.is_running(), "it still runs");
            Ok(())
        });
        gone.await.unwrap();
        drop(nobody);
    }
}
