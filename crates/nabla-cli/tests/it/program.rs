//! Running the program: sandboxes, commands with a deadline, networks that end with their test.

use std::{
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// No single step of a test takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Times that a network is started on other ports when its ports were taken meanwhile.
const START_ATTEMPTS: u32 = 5;

/// The repository's root.
pub(crate) fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

/// Ask again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "waited too long for {what}");
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "between two questions of a loop that has a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(3));
}

/// An empty home, an empty working folder with the repository's models in it, and the program on the path.
#[derive(Debug)]
pub(crate) struct Sandbox {
    folder: TempDir,
    pub(crate) url: String,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["home", "work", "bin", "tmp", "log"] {
            fs::create_dir(folder.path().join(name)).expect("a new folder");
        }
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, folder.path().join(to));
        link(&repository().join("models"), "work/models").expect("a link");
        link(Path::new(env!("CARGO_BIN_EXE_nabla")), "bin/nabla").expect("a link");
        // Nobody listens on port 1: a test that needs a network names it.
        Self { folder, url: "http://127.0.0.1:1".to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.path("work").join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home/.local/share/nabla")
    }

    pub(crate) fn receipts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home().join("receipts")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// A command in this sandbox, with nothing of the environment of whoever runs the tests.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("NABLA_URL", &self.url)
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        command
    }

    /// Run `nabla` to its end.
    #[track_caller]
    pub(crate) fn nabla(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_nabla"));
        command.args(arguments);
        self.finish(command, format!("nabla {}", arguments.join(" ")))
    }

    /// Run `nabla` and expect it to do what it was asked.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.nabla(arguments);
        assert_eq!(ran.code, Some(0), "{ran}");
        ran
    }

    /// Run `nabla --json` and read its one document.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.ok(&[arguments, &["--json"]].concat()).document()
    }

    #[track_caller]
    pub(crate) fn finish(&self, command: Command, text: String) -> Ran {
        let mut process = self.spawn(command);
        let code = process.wait().code();
        Ran { command: text, code, stdout: process.stdout(), stderr: process.stderr() }
    }

    /// Start a command; its output goes to files.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let output = |name: &str| self.path("log").join(format!("{number}.{name}"));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        command.stdout(File::create(&stdout).expect("a new file"));
        command.stderr(File::create(&stderr).expect("a new file"));
        let child = command.spawn().expect("the program starts");
        Process { child, stdout, stderr }
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(env!("CARGO_BIN_EXE_nabla"));
        command.args(arguments);
        self.spawn(command)
    }

    /// Write a file under the working folder.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        File::create(&path).and_then(|mut file| file.write_all(bytes.as_ref())).expect("written");
        path
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("expected one document, {error}: {self}"))
    }

    /// The JSON of an error: code, message, hint.
    #[track_caller]
    pub(crate) fn error(&self) -> (String, String, String) {
        let document = self.document();
        let part = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(document["ok"], false, "{self}");
        (part("code"), part("message"), part("hint"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or("by signal".to_owned(), |code| code.to_string());
        write!(f, "$ {}\nexit {code}\n{}", self.command, self.stdout)?;
        self.stderr.lines().try_for_each(|line| writeln!(f, "! {line}"))
    }
}

/// A process that does not outlive its test.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).expect("its output")
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("its output")
    }

    /// `kill -9`, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ends");
    }

    /// Send a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("bash").args(["-c", &script]).status().expect("bash");
        assert!(sent.success(), "{script}");
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state")
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "it does not end\n{}\n{}", self.stdout(), self.stderr());
            pause();
        }
    }

    /// Stop it in order: it must exit with 0 and have said nothing of a panic.
    #[track_caller]
    pub(crate) fn stop(&mut self, signal: &str) {
        self.signal(signal);
        let status = self.wait();
        assert!(status.success(), "{status}\n{}\n{}", self.stdout(), self.stderr());
        assert!(!self.stderr().contains("panicked"), "{}", self.stderr());
    }

    /// Wait for a text on its stdout, or for its end.
    #[track_caller]
    pub(crate) fn wait_for_text(&mut self, text: &str) -> bool {
        wait_for(text, || {
            let ended = self.ended().is_some();
            match self.stdout().contains(text) {
                true => Some(true),
                false => ended.then_some(false),
            }
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of ten ports that nobody has. They lie below those that the operating system gives to
/// connections, and no two calls in this process give the same.
pub(crate) fn ten_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 1000 * 10;
    loop {
        let offset = (start + u32::from(NEXT.fetch_add(10, Ordering::Relaxed))) % 15_000;
        let first = 15_000 + u16::try_from(offset).expect("below 15,000");
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + 10).all(free) {
            return first;
        }
    }
}

/// `nabla dev`, up and answering.
#[derive(Debug)]
pub(crate) struct Dev {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Dev {
    /// Start it, and point the sandbox at it.
    #[track_caller]
    pub(crate) fn start(sandbox: &mut Sandbox, arguments: &[&str]) -> Self {
        for _ in 0..START_ATTEMPTS {
            let port = ten_ports();
            if let Some(dev) = Self::start_at(sandbox, port, arguments) {
                return dev;
            }
        }
        panic!("no free ports");
    }

    /// `None` if somebody else has one of its ports.
    #[track_caller]
    pub(crate) fn start_at(sandbox: &mut Sandbox, port: u16, arguments: &[&str]) -> Option<Self> {
        let number = port.to_string();
        let mut process = sandbox.start(&[&["dev", "--port", &number], arguments].concat());
        if process.wait_for_text("Ctrl-C stops it") {
            sandbox.url = format!("http://127.0.0.1:{port}");
            return Some(Self { process, port });
        }
        let stderr = process.stderr();
        assert!(stderr.contains("cannot listen"), "{}\n{stderr}", process.stdout());
        None
    }
}
