//! The command line: `demo-services` alone starts everything on this machine.

mod commands;

use std::{
    error::Error,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use commands::{
    Nothing, Told, Usage, answered, daemon::DaemonArgs, doctor::DoctorArgs, register::RegisterArgs,
    unregister::UnregisterArgs,
};
use demo_services::{
    config::{DownstreamApiConfig, MiddleTierConfig, ServiceConfig, SpaBackendConfig, load},
    demo::{self, DemoOptions, Https},
    downstream_api,
    how_to_trust::how_to_trust,
    middle_tier, spa_backend,
};
use listening::{Listeners, serve};
use local_authority::{
    Clock, Directory, LocalAuthority, LocalCa, Options, Running, SystemClock, Tls,
};
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn Error + Send + Sync>;

/// SPA backend, middle tier, downstream API and a local authority.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on this machine, with demo users (the default)
    Demo(DemoArgs),
    /// A call without a user: gets an app-only token and calls an API with it
    Daemon(DaemonArgs),
    /// The local authority alone
    Authority(AuthorityArgs),
    /// Check configurations against the authority, the tenant and this machine, and say how to mend what is wrong
    Doctor(DoctorArgs),
    /// The SPA backend alone, against the authority of its configuration
    SpaBackend(ServiceArgs),
    /// The middle tier alone
    MiddleTier(ServiceArgs),
    /// The downstream API alone
    DownstreamApi(ServiceArgs),
    /// Makes everything that the demo needs in a tenant of Microsoft Entra, and writes the services' configuration
    Register(Box<RegisterArgs>),
    /// Removes exactly what register has made, and puts back the configuration that was there before
    Unregister(UnregisterArgs),
}

#[derive(Args, Debug)]
struct DemoArgs {
    /// Port of the SPA backend; 0 takes a free one
    #[arg(long, default_value_t = 3000, value_name = "PORT")]
    spa_port: u16,
    /// Port of the local authority; 0 takes a free one
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    authority_port: u16,
    /// Host under which the browser sees the authority; 127.0.0.1 makes it another site, as in production
    #[arg(long, default_value = "localhost", value_parser = ["localhost", "127.0.0.1"], value_name = "HOST")]
    authority_host: String,
    /// Users, applications and policies, instead of the demo's own
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// Serve everything over https with a certificate that this command makes for localhost, and print how to trust it
    #[arg(long)]
    https: bool,
    /// Where --https keeps its certificates, which are made anew after a year and must then be trusted again
    #[arg(long, requires = "https", value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// Serve /msal, the page with MSAL.js as the client: where `npm install @azure/msal-browser@5.30.0` was run; needs --https
    #[arg(long, value_name = "DIR")]
    msal: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct AuthorityArgs {
    /// Users, applications and policies (TOML)
    #[arg(long, value_name = "FILE")]
    directory: PathBuf,
    /// Where to listen: localhost:PORT or IP:PORT
    #[arg(long, default_value = "localhost:8080", value_name = "ADDRESS")]
    listen: String,
    /// Serve https with a certificate that this command makes for localhost, and print how to trust it
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    https: bool,
    /// Where --https keeps its certificates, which are made anew after a year and must then be trusted again
    #[arg(long, requires = "https", value_name = "DIR")]
    ca_dir: Option<PathBuf>,
    /// Serve https with this certificate (PEM, the server's own first)
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM)
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Keep in this file what must survive a restart; passwords and keys stand in it as they are. Without it nothing is on disk
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Serve /admin and POST /control, and print the token that they need
    #[arg(long)]
    control: bool,
    /// The same with this token, which must be too long to guess
    #[arg(
        long,
        env = "CONTROL_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    control_token: Option<String>,
}

#[derive(Args, Debug)]
struct ServiceArgs {
    /// The service's configuration (TOML); variables such as MIDDLE_TIER__CLIENT_SECRET override its keys
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new("warn,demo_services=info,local_authority=info,tower_bearer=info")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();

    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Told>() => ExitCode::FAILURE,
        Err(error) => {
            let text = match error.downcast_ref::<Nothing>() {
                Some(nothing) => nothing.to_string(),
                None => with_causes("error", error.as_ref()),
            };
            say(&mut io::stderr(), &text);
            match error.is::<Usage>() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command.unwrap_or(Command::Demo(cli.demo)) {
        Command::Demo(args) => run_demo(args).await,
        Command::Daemon(args) => commands::daemon::run(args).await,
        Command::Authority(args) => run_authority(args).await,
        Command::Doctor(args) => commands::doctor::run(args).await,
        Command::SpaBackend(args) => {
            let config: SpaBackendConfig = read(&args.config)?;
            let service = spa_backend::router(&config).map_err(|error| wrong(&args, error))?;
            let listeners = listen(&config, &args).await?;
            let stop = stop_signal()?;
            announce("SPA backend", listeners.port());
            serve(listeners, service, stop).await;
            Ok(())
        }
        Command::MiddleTier(args) => {
            let config: MiddleTierConfig = read(&args.config)?;
            let service = middle_tier::service(&config).map_err(|error| wrong(&args, error))?;
            let listeners = listen(&config, &args).await?;
            let stop = stop_signal()?;
            announce("middle tier", listeners.port());
            serve(listeners, service, stop).await;
            Ok(())
        }
        Command::DownstreamApi(args) => {
            let config: DownstreamApiConfig = read(&args.config)?;
            let service = downstream_api::service(&config).map_err(|error| wrong(&args, error))?;
            let listeners = listen(&config, &args).await?;
            let stop = stop_signal()?;
            announce("downstream API", listeners.port());
            serve(listeners, service, stop).await;
            Ok(())
        }
        Command::Register(args) => {
            let json = args.json;
            answered(json, commands::register::run(*args).await)
        }
        Command::Unregister(args) => {
            let json = args.json;
            answered(json, commands::unregister::run(args).await)
        }
    }
}

async fn run_demo(args: DemoArgs) -> Result<(), Failure> {
    let directory = match &args.directory {
        Some(file) => read_directory(file)?,
        None => Directory::demo(),
    };
    let https = match args.https {
        true => {
            let (ca, file) = local_ca(args.ca_dir)?;
            Some(Https {
                ca,
                file: Some(file),
            })
        }
        false => None,
    };
    let running = demo::start(DemoOptions {
        directory,
        spa_port: args.spa_port,
        authority_port: args.authority_port,
        authority_host: args.authority_host,
        https,
        msal: args.msal,
        ..DemoOptions::default()
    })
    .await?;
    let stop = stop_signal()?;
    say(&mut io::stdout(), &running.welcome());
    stop.await;
    say(&mut io::stdout(), "\nStopping.");
    running.stop().await;
    Ok(())
}

async fn run_authority(args: AuthorityArgs) -> Result<(), Failure> {
    let directory = read_directory(&args.directory)?;
    let mut options = Options::default().listen(args.listen);
    let mut trust = None;
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        options = options.tls(Tls::from_files(certificate, key)?);
    } else if args.https {
        let (ca, file) = local_ca(args.ca_dir)?;
        options = options.tls(ca.tls()?);
        trust = Some(how_to_trust(&file, ca.is_new()));
    }
    options = match args.control_token {
        Some(token) => options.control_token(token),
        None if args.control => options.control(),
        None => options,
    };
    if let Some(file) = args.state {
        options = options.state(file);
    }
    let running = LocalAuthority::start(directory, options).await?;
    let stop = stop_signal()?;
    let mut text = what_is_there(&running);
    if let Some(trust) = trust {
        text.push_str(&trust);
    }
    if let Some(token) = running.control_token() {
        text.push_str(&format!(
            "\ncontrol token (header X-Control, or typed into {}/admin): {token}",
            running.url()
        ));
    }
    say(&mut io::stdout(), &text);
    running.serve_until(stop).await;
    Ok(())
}

/// Where to point an application, and who can sign in.
fn what_is_there(running: &Running) -> String {
    const SHOWN: usize = 8;
    let directory = running.directory();
    let names = directory.users.iter().map(|user| user.username.as_str());
    let mut users: Vec<&str> = names.take(SHOWN).collect();
    if directory.users.len() > SHOWN {
        users.push("...");
    }
    let (url, issuer, users) = (running.url(), running.issuer(), users.join(", "));
    format!(
        "authority on {url}; Ctrl-C stops it\nissuer    {issuer}\nmetadata  {issuer}/.well-known/openid-configuration\nusers     {users}"
    )
}

/// The CA of `--https`, and its file in full: the lines that name it are for other shells, with other working directories.
fn local_ca(directory: Option<PathBuf>) -> Result<(LocalCa, PathBuf), Failure> {
    let directory = directory.map_or_else(local_ca_directory, Ok)?;
    let ca = LocalCa::in_directory(&directory, SystemClock.now())?;
    let file = std::fs::canonicalize(LocalCa::file_in(&directory))?;
    Ok((ca, file))
}

/// One place for all that a user runs, so that a certificate is trusted once.
fn local_ca_directory() -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let data = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))
    };
    let data = data.filter(|data| data.is_absolute());
    let data =
        data.ok_or("there is no home directory to keep certificates in: add --ca-dir DIR")?;
    Ok(data.join("tower-bearer/local-ca"))
}

fn read_directory(file: &Path) -> Result<Directory, Failure> {
    Directory::load(file).map_err(|error| match error.source() {
        // It names the file itself, and why.
        Some(_) => error.into(),
        None => format!("{}: {error}", file.display()).into(),
    })
}

/// A configuration that reads well and cannot be used.
fn wrong(args: &ServiceArgs, error: impl Error) -> Failure {
    with_causes(&args.config.display().to_string(), &error).into()
}

/// The error after `what` it is about, and below it what led to it.
fn with_causes(what: &str, error: &dyn Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because {cause}"));
        source = cause.source();
    }
    text
}

fn read<T: ServiceConfig>(file: &Path) -> Result<T, Failure> {
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    Ok(load(file, environment)?)
}

async fn listen(config: &impl ServiceConfig, args: &ServiceArgs) -> Result<Listeners, Failure> {
    let listeners = config.network().listeners().await;
    listeners.map_err(|error| wrong(args, error))
}

fn announce(name: &str, port: u16) {
    say(
        &mut io::stdout(),
        &format!("{name} on port {port}; Ctrl-C stops it"),
    );
}

/// The person at the terminal may have closed it; that must not end the services.
fn say(to: &mut dyn Write, text: &str) {
    let _ = writeln!(to, "{text}");
    let _ = to.flush();
}

/// Ctrl-C or, as service managers do it, SIGTERM. Heard from the call on, not only from the first poll: whoever is told
/// that Ctrl-C stops the services may press it at once.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
