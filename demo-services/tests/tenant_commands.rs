//! `register` and `unregister` as processes, against a local authority: what they print, how they end, and what they leave.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod administrator;

use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use demo_services::tenant::plan::PERMISSIONS;
use local_authority::{
    Clock as _, Directory, Endpoint, Fault, LocalAuthority, LocalCa, Options, Running, SystemClock,
    TokenSpec,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};

#[cfg(target_os = "linux")]
use tokio::io::AsyncWriteExt as _;

const TOOLS: &str = "Microsoft Graph Command Line Tools";
const GRAPH: &str = "https://graph.microsoft.com";
type Lines = tokio::io::Lines<BufReader<ChildStderr>>;

struct Tenant {
    authority: Running,
    folder: PathBuf,
    token: String,
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The line of what is printed that shows this command.
#[cfg(unix)]
fn shown<'a>(printed: &'a str, command: &str) -> &'a str {
    let command = format!("cargo run -- {command} ");
    let mut lines = printed.lines().map(str::trim);
    let line = lines.find(|line| format!("{line} ").contains(&command));
    line.unwrap_or_else(|| panic!("{command} in {printed}"))
}

impl Tenant {
    async fn new(name: &str) -> Self {
        Self::with(name, Options::default()).await
    }

    /// Over https, with a CA of its own in `ca.pem`.
    async fn https(name: &str) -> Self {
        let ca = LocalCa::in_memory(SystemClock.now()).unwrap();
        let options = Options::default().tls(ca.tls().unwrap());
        let tenant = Self::with(name, options).await;
        fs::write(tenant.folder.join("ca.pem"), ca.pem()).unwrap();
        tenant
    }

    async fn with(name: &str, options: Options) -> Self {
        let mut directory = Directory::demo();
        directory.apps.retain(|app| app.name == TOOLS);
        directory.policies.clear();
        let authority = LocalAuthority::start(directory, options).await.unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commands-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let token = TokenSpec::user("admin", GRAPH).client(TOOLS);
        let token = authority.issue(token.scopes(PERMISSIONS.iter().copied()));
        Self {
            authority,
            folder,
            token,
        }
    }

    /// In the folder, with the token in the environment.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove("RUST_LOG")
            .env_remove("GRAPH_CLIENT_ID")
            .env_remove("CLIENT_SECRET")
            .env("GRAPH_ACCESS_TOKEN", &self.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.ended(self.command(arguments)).await
    }

    /// A command line that was shown, with more behind it, as it is typed into a shell.
    #[cfg(unix)]
    async fn run_shown(&self, shown: &str, more: &str) -> Ended {
        let binary = format!("'{}'", env!("CARGO_BIN_EXE_demo-services"));
        let typed = format!("{shown} {more}").replace("cargo run --", &binary);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &typed])
            .current_dir(&self.folder)
            .env_remove("RUST_LOG")
            .env_remove("GRAPH_CLIENT_ID")
            .env_remove("CLIENT_SECRET")
            .env("GRAPH_ACCESS_TOKEN", &self.token)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        self.ended(shell).await
    }

    async fn ended(&self, mut command: Command) -> Ended {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().await.unwrap();
        let ended = Ended {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        };
        for text in [&ended.out, &ended.err] {
            assert!(!text.contains(&self.token), "the token is shown");
            assert!(
                !text.contains("PRIVATE KEY") && !text.contains("panicked"),
                "{text}"
            );
        }
        ended
    }

    /// With somebody at a terminal, who types this line. What both streams show comes back together.
    #[cfg(target_os = "linux")]
    async fn typed(&self, arguments: &str, line: &str) -> (Option<i32>, String) {
        let binary = env!("CARGO_BIN_EXE_demo-services");
        let mut child = Command::new("script")
            .args(["-qec", &format!("'{binary}' {arguments}"), "/dev/null"])
            .current_dir(&self.folder)
            .env_remove("RUST_LOG")
            .env("GRAPH_ACCESS_TOKEN", &self.token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script (util-linux) makes a terminal");
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(line.as_bytes()).await.unwrap();
        keyboard.write_all(b"\n").await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    fn register(&self) -> Vec<String> {
        let tenant = self.authority.tenant().to_string();
        let url = self.authority.url().to_owned();
        [
            "register",
            "--tenant",
            &tenant,
            "--authority",
            &url,
            "--sign-in",
            "token",
        ]
        .map(str::to_owned)
        .into()
    }

    async fn run_register(&self, more: &[&str]) -> Ended {
        let register = self.register();
        let arguments: Vec<&str> = register
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        self.run(&arguments).await
    }

    /// Begins a command that has somebody sign in, and reads the address to open.
    async fn asks(&self, arguments: &[&str]) -> (Child, Lines, String) {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let words = lines.next_line().await.unwrap().unwrap();
        assert!(
            words.contains("open this address in a browser on this machine"),
            "{words}"
        );
        let address = lines.next_line().await.unwrap().unwrap();
        (child, lines, address)
    }

    /// A command with an administrator at the browser. What both streams show comes back together.
    async fn run_with_browser(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (child, mut lines, address) = self.asks(arguments).await;
        let page = administrator::signs_in(&address).await;
        assert!(page.contains("You can close this window"), "{page}");
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
        }
        let output = child.wait_with_output().await.unwrap();
        said.push_str(&String::from_utf8(output.stdout).unwrap());
        (output.status.code(), said)
    }

    fn apps(&self) -> usize {
        self.authority.directory().apps.len()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn what_a_dry_run_shows_is_made_and_unregister_takes_it_back() {
    let tenant = Tenant::new("story").await;
    let before = tenant.apps();
    let people = ["--mfa-user", "alice@contoso.example"];
    let shown = tenant
        .run_register(&[&people[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(
        shown.out.starts_with("Nothing is made now."),
        "{}",
        shown.out
    );
    for part in [
        "+ application tower-bearer-demo-middle-tier",
        "report-only",
        "/tenant-config/spa-backend.toml\n",
        "/tenant-config/daemon-key.pem\n",
        "Graph:\n  Application.ReadWrite.All\n",
        "\n  User.Read.All\n",
        "only a run can see",
    ] {
        assert!(shown.out.contains(part), "{part} in {}", shown.out);
    }
    for part in [".env", ".next.pem", "Group.Read.All"] {
        assert!(!shown.out.contains(part), "{part} in {}", shown.out);
    }
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));

    let made = tenant
        .run_register(&[&people[..], &["--json"]].concat())
        .await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let report: Value = serde_json::from_str(&made.out).unwrap();
    assert!(report["objects"].as_array().unwrap().len() > 20, "{report}");
    assert!(
        made.err
            .contains("+ application tower-bearer-demo-middle-tier"),
        "{}",
        made.err
    );
    assert_eq!(
        (tenant.apps(), tenant.names()),
        (
            before + 6,
            vec![
                "tenant-config".to_owned(),
                "tower-bearer-tenant.json".into()
            ]
        )
    );

    let again = tenant.run_register(&people).await;
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(
        again.out.contains("tower-bearer-demo-daemon"),
        "{}",
        again.out
    );
    assert!(
        again
            .err
            .contains("--config tenant-config/spa-backend.toml"),
        "{}",
        again.err
    );
    assert!(!again.err.contains("\n+ "), "{}", again.err);
    assert_eq!(tenant.apps(), before + 6);

    // Shown again it is there, and not with what a run would refuse.
    let shown = tenant
        .run_register(&[&people[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(
        shown.out.contains("\n= application") && !shown.out.contains("\n+ "),
        "{}",
        shown.out
    );
    let refused = tenant
        .run_register(&["--dry-run", "--prefix", "other"])
        .await;
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(
        refused.err.contains("another registration"),
        "{}",
        refused.err
    );

    // The written file starts its service.
    let file = "tenant-config/downstream-api.toml";
    let mut service = tenant.command(&["downstream-api", "--config", file]);
    let mut service = service
        .env("DOWNSTREAM_API__LISTEN", "localhost:0")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("downstream API on port "), "{line}");

    // Nobody is at the terminal to be asked.
    let asked = tenant.run(&["unregister", "--sign-in", "token"]).await;
    assert_eq!(asked.code, Some(2), "{}", asked.err);
    assert!(
        asked.err.contains("--yes") && tenant.apps() == before + 6,
        "{}",
        asked.err
    );
    let removed = tenant
        .run(&["unregister", "--sign-in", "token", "--yes"])
        .await;
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    assert!(
        removed
            .err
            .contains("- application tower-bearer-demo-middle-tier"),
        "{}",
        removed.err
    );
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));
    let nothing = tenant
        .run(&["unregister", "--sign-in", "token", "--yes"])
        .await;
    assert_eq!(nothing.code, Some(1));
    assert!(
        nothing.err.contains("nothing was registered from here"),
        "{}",
        nothing.err
    );
}

#[tokio::test]
async fn somebody_signs_in_with_a_browser_where_nothing_else_is_said() {
    let tenant = Tenant::new("browser").await;
    let before = tenant.apps();
    let register = tenant.register();
    let arguments: Vec<&str> = register.iter().map(String::as_str).collect();
    let [arguments @ .., "--sign-in", "token"] = arguments.as_slice() else {
        panic!("{arguments:?}");
    };
    let (code, said) = tenant.run_with_browser(arguments).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("tower-bearer-demo-daemon"), "{said}");
    assert_eq!(tenant.apps(), before + 6);
    let (code, said) = tenant.run_with_browser(&["unregister", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("The tenant is as it was"), "{said}");
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_the_wait_for_a_sign_in() {
    let tenant = Tenant::new("ctrl-c-at-the-sign-in").await;
    let (url, id) = (
        tenant.authority.url(),
        tenant.authority.tenant().to_string(),
    );
    let arguments = ["register", "--tenant", &id, "--authority", url];
    let (mut child, mut lines, _) = tenant.asks(&arguments).await;
    let process = child.id().unwrap().to_string();
    let sent = Command::new("kill")
        .args(["-s", "INT", &process])
        .status()
        .await;
    assert!(sent.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    let said = lines.next_line().await.unwrap().unwrap();
    assert!(said.contains("stopped. Nothing was made"), "{said}");
}

#[tokio::test]
async fn a_record_from_elsewhere_gets_no_token() {
    let tenant = Tenant::new("foreign").await;
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let file = tenant.folder.join("tower-bearer-tenant.json");
    let ours = fs::read_to_string(&file).unwrap();
    let url = tenant.authority.url();
    let unregister = ["unregister", "--sign-in", "token", "--yes"];
    for (key, host) in [
        ("authority", "https://evil.example/"),
        ("graph", "https://evil.example/"),
    ] {
        let mut record: Value = serde_json::from_str(&ours).unwrap();
        record[key] = host.into();
        fs::write(&file, record.to_string()).unwrap();
        let ended = tenant.run(&unregister).await;
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        for part in [
            host,
            url,
            "--authority and --graph",
            "nothing was sent there",
        ] {
            assert!(ended.err.contains(part), "{key}: {part} in {}", ended.err);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), record.to_string());
    }
    fs::write(&file, &ours).unwrap();
    let elsewhere = ["--authority", "https://login.example"];
    let ended = tenant.run(&[&unregister[..], &elsewhere].concat()).await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(
        ended
            .err
            .contains("not of what --authority and --graph name"),
        "{}",
        ended.err
    );
    let ended = tenant
        .run(&[&unregister[..], &["--authority", url]].concat())
        .await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

/// T1: whoever issued it has it sent to nobody else, also not on this machine.
#[tokio::test]
async fn a_token_of_another_authority_goes_nowhere() {
    let mut tenant = Tenant::new("another-issuer").await;
    let other = Tenant::new("the-other-issuer").await;
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let apps = tenant.apps();
    tenant.token = other.token;
    for ended in [
        tenant.run_register(&[]).await,
        tenant
            .run(&["unregister", "--sign-in", "token", "--yes"])
            .await,
    ] {
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains("was not issued by"), "{}", ended.err);
    }
    assert_eq!(tenant.apps(), apps);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn unregister_asks_whoever_is_at_the_terminal() {
    let tenant = Tenant::new("asked").await;
    let url = tenant.authority.url();
    let before = tenant.apps();
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    for answer in ["n", "", "yesterday"] {
        let (code, said) = tenant.typed("unregister --sign-in token", answer).await;
        assert_eq!(code, Some(1), "{said}");
        for part in [
            "- application tower-bearer-demo-daemon",
            &format!("at {url}/, through the Graph at {url}/:"),
            "Remove all of this? [y/N]",
            "Nothing was removed.",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(!said.contains("error"), "{said}");
        assert_eq!(tenant.apps(), before + 6, "{answer:?}");
    }
    let (code, said) = tenant.typed("unregister --sign-in token", "y").await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("The tenant is as it was"), "{said}");
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));
}

/// A run that is at work, and whose next request takes this long.
#[cfg(unix)]
async fn at_work(
    tenant: &Tenant,
    delay: Duration,
) -> (
    tokio::process::Child,
    tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
) {
    // The second application: it is made, and its answer is late.
    let fault = Fault::delay(delay).skip(10);
    tenant.authority.fail_next(Endpoint::Graph, 1, fault);
    let register = tenant.register();
    let arguments: Vec<&str> = register.iter().map(String::as_str).collect();
    let mut child = tenant.command(&arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("+ application"), "{line}");
    (child, lines)
}

#[cfg(unix)]
async fn interrupt(child: &tokio::process::Child) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status().await;
    assert!(sent.unwrap().success());
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_after_the_step_and_leaves_a_record_that_is_gone_on_with() {
    let tenant = Tenant::new("ctrl-c").await;
    let before = tenant.apps();
    let (mut child, mut lines) = at_work(&tenant, Duration::from_secs(1)).await;
    interrupt(&child).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
    }
    for part in [
        "press Ctrl-C again",
        "error: stopped.",
        "tower-bearer-tenant.json",
        "`cargo run -- unregister --sign-in token` removes it",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // Everything that is there is recorded.
    let file = tenant.folder.join("tower-bearer-tenant.json");
    let record: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(
        record["objects"].as_array().unwrap().len(),
        tenant.apps() - before
    );

    let done = tenant.run_register(&[]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let why = "left out, because no user and no group was named";
    assert_eq!(done.out.matches(why).count(), 1, "{}", done.out);
    assert!(!done.err.contains("left out"), "{}", done.err);
    assert_eq!(tenant.apps(), before + 6);
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_ctrl_c_ends_at_once_and_unregister_removes_what_was_on_its_way() {
    let tenant = Tenant::new("ctrl-c-twice").await;
    let before = tenant.apps();
    let (mut child, mut lines) = at_work(&tenant, Duration::from_secs(60)).await;
    interrupt(&child).await;
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("press Ctrl-C again"), "{line}");
    interrupt(&child).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    let removed = tenant
        .run(&["unregister", "--sign-in", "token", "--yes"])
        .await;
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));
}

#[tokio::test]
async fn what_cannot_be_is_said_with_the_way_on() {
    let tenant = Tenant::new("refusals").await;
    let url = tenant.authority.url().to_owned();
    let id = tenant.authority.tenant().to_string();
    let (url, id) = (url.as_str(), id.as_str());
    let register = |more: &[&'static str]| {
        let mut arguments = vec!["register", "--tenant", id, "--authority", url];
        arguments.extend(more);
        arguments
    };
    for (arguments, code, said) in [
        (vec!["register"], 2, "--tenant"),
        (
            vec!["register", "--tenant", "common", "--authority", url],
            2,
            "must be the tenant's id",
        ),
        (
            vec![
                "register",
                "--tenant",
                id,
                "--authority",
                "http://login.example",
            ],
            2,
            "http on this machine",
        ),
        (
            vec!["register", "--tenant", id, "--graph", url],
            2,
            "--authority",
        ),
        (
            register(&["--base-url", "http://shop.example"]),
            2,
            "--base-url must be https",
        ),
        (register(&["--prefix", "a b"]), 2, "--prefix"),
        (
            register(&["--msal", "."]),
            2,
            "--msal needs an https --base-url",
        ),
        (
            register(&["--ca-file", "nowhere.pem"]),
            2,
            "nowhere.pem cannot be read",
        ),
        (
            register(&["--sign-in", "client-credential"]),
            1,
            "GRAPH_CLIENT_SECRET is not set",
        ),
        // Nobody is asked for it in vain: Microsoft's client is not there.
        (
            vec!["register", "--tenant", id, "--cloud", "china"],
            2,
            "--client-id",
        ),
        (
            register(&[
                "--sign-in",
                "device-code",
                "--client-id",
                "22222222-2222-3333-4444-555555555555",
            ]),
            1,
            "(AADSTS700016). The tenant does not know this client",
        ),
        (
            vec![
                "register",
                "--tenant",
                "22222222-2222-3333-4444-555555555555",
                "--authority",
                url,
                "--sign-in",
                "token",
            ],
            1,
            "of another tenant",
        ),
        (
            vec!["unregister", "--state", "nowhere.json", "--yes"],
            1,
            "nowhere.json",
        ),
    ] {
        let ended = tenant.run(&arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.err);
        assert!(ended.err.contains(said), "{arguments:?}: {}", ended.err);
        assert!(ended.out.is_empty(), "{}", ended.out);
    }
    assert!(tenant.names().is_empty(), "{:?}", tenant.names());
    fs::write(
        tenant.folder.join("tower-bearer-tenant.json"),
        "{\"version\":1,",
    )
    .unwrap();
    for arguments in [
        register(&["--sign-in", "token"]),
        vec!["unregister", "--yes"],
    ] {
        let ended = tenant.run(&arguments).await;
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains("is damaged"), "{}", ended.err);
    }
    let damaged = fs::read_to_string(tenant.folder.join("tower-bearer-tenant.json")).unwrap();
    assert_eq!(damaged, "{\"version\":1,");
}

#[tokio::test]
async fn files_that_no_service_could_use_are_refused_before_anything_is_asked() {
    let tenant = Tenant::new("unusable-files").await;
    let [one, other] = [(); 2].map(|()| LocalCa::in_memory(SystemClock.now()).unwrap());
    let package = "msal/node_modules/@azure/msal-browser/lib";
    fs::create_dir_all(tenant.folder.join(package).join("redirect-bridge")).unwrap();
    for (name, text) in [
        ("chain.pem", one.certificate_pem()),
        ("key.pem", one.key_pem()),
        ("other.pem", other.key_pem()),
        ("garbage.pem", "garbage"),
        (&format!("{package}/msal-browser.min.js"), ""),
        (
            &format!("{package}/redirect-bridge/msal-redirect-bridge.min.js"),
            "",
        ),
    ] {
        fs::write(tenant.folder.join(name), text).unwrap();
    }
    let pair = |certificate, key| vec!["--tls-cert", certificate, "--tls-key", key];
    // Nothing listens there: whoever asked would end in another way.
    let nobody = |more: &[&'static str]| {
        let asked = [
            "register",
            "--tenant",
            "contoso.example",
            "--authority",
            "http://127.0.0.1:1",
            "--base-url",
            "https://localhost:3000",
        ];
        [&asked[..], more].concat()
    };
    for (more, said) in [
        (
            pair("nowhere.pem", "key.pem"),
            "cannot read nowhere.pem: No such file",
        ),
        (
            pair("chain.pem", "nowhere.key"),
            "cannot read nowhere.key: No such file",
        ),
        (
            pair("garbage.pem", "key.pem"),
            "garbage.pem: no PEM block `CERTIFICATE`",
        ),
        (
            pair("chain.pem", "other.pem"),
            "certificate and private key cannot be used together",
        ),
        (vec!["--msal", "."], "npm install"),
    ] {
        for dry in [&[][..], &["--dry-run"]] {
            let ended = tenant.run(&nobody(&[&more, dry].concat())).await;
            assert_eq!(ended.code, Some(2), "{more:?}: {}", ended.err);
            assert!(ended.err.contains(said), "{more:?}: {}", ended.err);
        }
    }
    let good = [pair("chain.pem", "key.pem"), vec!["--msal", "msal"]].concat();
    let ended = tenant.run(&nobody(&good)).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("cannot be reached"), "{}", ended.err);
    let https = ["--base-url", "https://localhost:3000", "--dry-run"];
    let ended = tenant.run_register(&[&good, &https[..]].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    // And without https no dry run shows what would be refused.
    let ended = tenant.run_register(&["--dry-run", "--msal", "msal"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.out);
}

#[cfg(unix)]
#[tokio::test]
async fn a_certificate_that_is_not_trusted_ends_at_once_and_the_shown_commands_name_the_ca() {
    let tenant = Tenant::https("untrusted").await;
    let url = tenant.authority.url();
    let id = tenant.authority.tenant().to_string();
    let before = tenant.apps();
    for (named, way) in [
        // The authority's metadata, its token endpoint, and Graph.
        ("contoso.example", "token"),
        (&id, "client-credential"),
        (&id, "token"),
    ] {
        let register = ["register", "--tenant", named, "--authority", url];
        let mut command = tenant.command(&[&register[..], &["--sign-in", way]].concat());
        command
            .env("GRAPH_CLIENT_ID", "22222222-2222-3333-4444-555555555555")
            .env("GRAPH_CLIENT_SECRET", "s3cret");
        let ended = tenant.ended(command).await;
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        assert!(ended.err.contains("--ca-file"), "{}", ended.err);
        for part in ["waiting", "again in", "is it running"] {
            assert!(!ended.err.contains(part), "{part} in {}", ended.err);
        }
    }
    assert_eq!(tenant.names(), ["ca.pem"]);

    let with = ["--ca-file", "ca.pem", "--state", "state of mine.json"];
    let made = tenant.run_register(&with).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let unregister = shown(&made.err, "unregister");
    let expected =
        "cargo run -- unregister --state 'state of mine.json' --ca-file ca.pem --sign-in token";
    assert_eq!(unregister, expected);
    let without = ["unregister", "--state", "state of mine.json", "--yes"];
    let ended = tenant
        .run(&[&without[..], &["--sign-in", "token"]].concat())
        .await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(
        ended.err.contains("--ca-file") && !ended.err.contains("waiting"),
        "{}",
        ended.err
    );
    let alone = shown(&made.err, "daemon").replace("--ca-file ca.pem", "");
    let ended = tenant.run_shown(&alone, "").await;
    assert!(
        ended.code == Some(1) && ended.err.contains("--ca-file"),
        "{}",
        ended.err
    );
    // The token is had, and what is called refuses it.
    let daemon = shown(&made.err, "daemon");
    let daemon = daemon.replace("http://localhost:7000/admin", &format!("{url}/x"));
    let called = tenant.run_shown(&daemon, "").await;
    assert!(
        called.out.starts_with("404"),
        "{}{}",
        called.out,
        called.err
    );
    let ended = tenant.run_shown(unregister, "--yes").await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(
        (tenant.apps(), tenant.names()),
        (before, vec!["ca.pem".into()])
    );
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_is_named_with_the_reason() {
    let tenant = Tenant::new("ca-file").await;
    fs::write(tenant.folder.join("garbage.pem"), "garbage").unwrap();
    let secret = ["daemon", "--client-secret", "x"];
    let register = ["--dry-run"];
    for (file, said) in [
        (
            "nowhere.pem",
            "--ca-file nowhere.pem cannot be read: No such file",
        ),
        (
            "garbage.pem",
            "--ca-file garbage.pem: there is no certificate",
        ),
    ] {
        let with = ["--ca-file", file];
        for ended in [
            tenant.run(&[&secret[..], &with].concat()).await,
            tenant.run_register(&[&register[..], &with].concat()).await,
        ] {
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            assert!(ended.err.contains(said), "{}", ended.err);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_shown_at_the_end_works_as_it_is_shown() {
    let tenant = Tenant::new("shown").await;
    let url = tenant.authority.url();
    fs::create_dir(tenant.folder.join("tenant-config")).unwrap();
    let theirs = tenant.folder.join("tenant-config/middle-tier.toml");
    fs::write(&theirs, "theirs").unwrap();
    for secret in [&[][..], &["--secret"]] {
        let made = tenant.run_register(secret).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        let before = "/middle-tier.toml\n    what was there before is in ";
        assert!(made.out.contains(before), "{}", made.out);
        assert_eq!(made.out.matches("before-register").count(), 1);
        let wide = |line: &&str| line.len() > 80 && !line.contains('/') && !line.contains(':');
        assert_eq!(made.out.lines().find(wide), None);
        // What the services do not listen for yet is no error.
        let doctor = shown(&made.err, "doctor");
        assert_eq!(doctor, "cargo run -- doctor --config-dir tenant-config");
        let checked = tenant.run_shown(doctor, "").await;
        assert_eq!(checked.code, Some(0), "{}", checked.out);
        let daemon = shown(&made.err, "daemon");
        let daemon = daemon.replace("http://localhost:7000/admin", &format!("{url}/x"));
        let called = tenant.run_shown(&daemon, "").await;
        assert!(
            called.out.starts_with("404"),
            "{}{}",
            called.out,
            called.err
        );
        if !secret.is_empty() {
            let file = tenant.folder.join("tenant-config/daemon.env");
            let text = fs::read_to_string(file).unwrap();
            assert!(text.contains("# The command `daemon` takes it"));
        }
        let unregister = shown(&made.err, "unregister");
        assert_eq!(unregister, "cargo run -- unregister --sign-in token");
        let ended = tenant.run_shown(unregister, "--yes").await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(
            ended.out.contains("in its bin for 30 days"),
            "{}",
            ended.out
        );
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    }
}

#[tokio::test]
async fn an_https_address_without_a_certificate_needs_a_proxy() {
    let tenant = Tenant::new("proxy").await;
    for (base_url, said) in [
        ("http://localhost:3000", None),
        (
            "https://localhost:3000",
            Some("with --tls-cert and --tls-key"),
        ),
        (
            "https://shop.example",
            Some("a proxy in front of it must speak TLS for https://shop.example"),
        ),
    ] {
        let made = tenant.run_register(&["--base-url", base_url]).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        let last = made.err.lines().last().unwrap();
        assert_eq!(
            last.contains("docs/deployment.md"),
            said.is_some(),
            "{last}"
        );
        assert!(last.contains(said.unwrap_or_default()), "{last}");
    }
}

#[tokio::test]
async fn a_daemon_that_cannot_prove_itself_is_told_its_options() {
    let tenant = Tenant::new("daemon").await;
    let made = tenant.run_register(&["--out", "."]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let pair = |certificate, key| vec!["--certificate", certificate, "--private-key", key];
    for (given, said) in [
        (
            vec![],
            &["--client-secret", "--certificate and --private-key"][..],
        ),
        (
            vec!["--client-secret", ""],
            &["--client-secret (CLIENT_SECRET) is empty"],
        ),
        (
            pair("nowhere.pem", "daemon-key.pem"),
            &["--certificate nowhere.pem cannot be read: No such file"],
        ),
        (
            pair("daemon.pem", "nowhere.key"),
            &["--private-key nowhere.key cannot be read: No such file"],
        ),
        (
            pair("daemon.pem", "spa-backend-key.pem"),
            &[
                "--certificate daemon.pem and --private-key spa-backend-key.pem cannot be used together: ",
            ],
        ),
    ] {
        let ended = tenant.run(&[vec!["daemon"], given].concat()).await;
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        for part in said {
            assert!(ended.err.contains(part), "{part} in {}", ended.err);
        }
        assert!(!ended.err.contains("client_certificate"), "{}", ended.err);
    }
}

#[tokio::test]
async fn with_json_an_error_is_an_answer_as_well() {
    let tenant = Tenant::new("json-errors").await;
    let json = ["--json"];
    for arguments in [
        vec!["unregister", "--yes", "--state", "nowhere.json"],
        vec!["register", "--tenant", "common"],
    ] {
        let silent = tenant.run(&arguments).await;
        assert!(silent.out.is_empty(), "{}", silent.out);
        let ended = tenant.run(&[&arguments[..], &json].concat()).await;
        assert_eq!((ended.code, &ended.err), (silent.code, &silent.err));
        let answer: Value = serde_json::from_str(&ended.out).unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(ended.err.contains(error), "{error} in {}", ended.err);
    }
    tenant
        .authority
        .fail_next(Endpoint::Graph, 1, Fault::status(403).skip(2));
    let ended = tenant.run_register(&json).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(answer["error"], "nothing was changed by this run");
    let causes = answer["causes"].as_array().unwrap();
    assert!(!causes.is_empty(), "{answer}");
}

#[tokio::test]
async fn an_administrator_who_is_named_is_told_what_enforcing_means() {
    let tenant = Tenant::new("oneself").await;
    let warning = "names the administrator who signs in here";
    for (more, warned) in [
        (&["--mfa-user", "admin@contoso.example"][..], false),
        (&["--mfa-user", "alice@contoso.example", "--enforce"], false),
        (&["--mfa-user", "admin@contoso.example", "--enforce"], true),
        // Enforced they are still.
        (&["--mfa-user", "admin@contoso.example"], true),
        (&["--mfa-user", "alice@contoso.example"], false),
    ] {
        let made = tenant.run_register(more).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        assert_eq!(made.err.contains(warning), warned, "{more:?}: {}", made.err);
        assert!(
            made.out.contains("in the name of a policy is"),
            "{}",
            made.out
        );
    }
}

#[tokio::test]
async fn a_context_of_others_is_said_to_be_theirs() {
    let tenant = Tenant::new("their-context").await;
    let path = "v1.0/identity/conditionalAccess/authenticationContextClassReferences/c1";
    let theirs =
        serde_json::json!({ "displayName": "c1", "description": "x", "isAvailable": true });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let made = http
        .patch(format!("{}/{path}", tenant.authority.url()))
        .bearer_auth(&tenant.token)
        .json(&theirs)
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success(), "{}", made.status());
    let made = tenant
        .run_register(&["--mfa-user", "alice@contoso.example"])
        .await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let why = "the authentication context c1 is somebody else's";
    assert!(made.out.contains(why), "{}", made.out);
}

#[tokio::test]
async fn what_remains_is_what_the_next_run_removes() {
    let tenant = Tenant::new("remaining").await;
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let unregister = ["unregister", "--sign-in", "token", "--yes"];
    // The token is refused at the second removal, and there is no other.
    let fault = Fault::status(401).skip(5);
    tenant.authority.fail_next(Endpoint::Graph, 1, fault);
    let ended = tenant.run(&unregister).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.starts_with("- "), "{}", ended.err);
    let told = ended.err.matches("revoked").count();
    assert!(
        told == 1 && !ended.err.contains("left out"),
        "{}",
        ended.err
    );
    let (before, _) = ended.err.split_once(" objects remain").unwrap();
    let remain = before.rsplit(' ').next().unwrap();
    let ended = tenant.run(&unregister).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let removed = format!("{remain} objects were removed, 0 were gone already");
    assert!(ended.out.starts_with(&removed), "{removed}: {}", ended.out);
}

#[tokio::test]
async fn a_sign_in_that_fails_is_told_once() {
    let tenant = Tenant::new("sign-in-fails").await;
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    let mut command = tenant.command(&["unregister", "--sign-in", "client-credential", "--yes"]);
    command
        .env("GRAPH_CLIENT_ID", "22222222-2222-3333-4444-555555555555")
        .env("GRAPH_CLIENT_SECRET", "s3cret");
    let ended = tenant.ended(command).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert_eq!(ended.err.matches("AADSTS").count(), 1, "{}", ended.err);
    assert!(
        ended.err.starts_with("error: nothing was removed"),
        "{}",
        ended.err
    );
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_at_unregister_has_words_of_its_own() {
    let tenant = Tenant::new("ctrl-c-unregister").await;
    let before = tenant.apps();
    let made = tenant.run_register(&[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    // The second removal takes its time.
    let fault = Fault::delay(Duration::from_secs(60)).skip(5);
    tenant.authority.fail_next(Endpoint::Graph, 1, fault);
    let unregister = ["unregister", "--sign-in", "token", "--yes"];
    let mut child = tenant.command(&unregister).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("- "), "{line}");
    interrupt(&child).await;
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("press Ctrl-C again"), "{line}");
    interrupt(&child).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("What may be left is recorded in"), "{line}");
    assert!(!line.contains("unregister removes"), "{line}");
    let ended = tenant.run(&unregister).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!((tenant.apps(), tenant.names()), (before, vec![]));
}
