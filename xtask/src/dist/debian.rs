//! The Debian package: the program with everything where Debian keeps it.
//!
//! It is the one that uses Debian's C library, because a gateway runs there under load; which versions will do, `dpkg-shlibdeps`
//! reads from the program. Where they are missing there is the static program. The
//! units for systemd are installed and not started: without a client and a secret a gateway has nothing to do. The service
//! has a dynamic user, so the package makes none. `/etc/evergrant/config.toml` is what `evergrant config init` writes and
//! belongs to the machine's owner from then on. An upgrade restarts a gateway that runs; its socket is systemd's, so no
//! request is lost.
//!
//! The package is checked by lintian and by dpkg itself, which installs it into a folder, where the program must start,
//! enables the units and purges it again, after which neither file nor link of it may be left. Source: Debian Policy 4.6; the machine-readable format of
//! `debian/copyright`, 1.0.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Release, archive, copy, listing, write};
use crate::setup;
use crate::shell::{self, Failure, capture, command};

/// Where what lies in an unpacked archive goes.
const PLACES: [(&str, &str); 8] = [
    ("evergrant", "usr/bin/evergrant"),
    ("completions/evergrant.bash", "usr/share/bash-completion/completions/evergrant"),
    ("completions/evergrant.zsh", "usr/share/zsh/vendor-completions/_evergrant"),
    ("completions/evergrant.fish", "usr/share/fish/vendor_completions.d/evergrant.fish"),
    ("systemd/evergrant.service", "usr/lib/systemd/system/evergrant.service"),
    ("systemd/evergrant.socket", "usr/lib/systemd/system/evergrant.socket"),
    ("README.md", "usr/share/doc/evergrant/README.md"),
    ("evergrant.cdx.json", "usr/share/doc/evergrant/evergrant.cdx.json"),
];
/// The same, compressed as the policy asks for.
const COMPRESSED: [(&str, &str); 2] = [
    ("CHANGELOG.md", "usr/share/doc/evergrant/changelog"),
    ("THIRD-PARTY-LICENSES", "usr/share/doc/evergrant/THIRD-PARTY-LICENSES"),
];
const CONFIG: &str = "etc/evergrant/config.toml";
const MAINTAINER: &str = "Evergrant developers <evergrant@users.noreply.github.com>";
const SCRIPTS: [(&str, &str); 3] = [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)];

/// Makes the package from the unpacked archive, checks it, and returns its file's name.
pub(super) fn package(release: &Release, unpacked: &Path) -> Result<String, Failure> {
    setup::packages(&setup::FOR_DEBIAN)?;
    let root = release.dist.join("debian");
    super::empty(&root)?;
    for (from, to) in PLACES {
        copy(&unpacked.join(from), &root.join(to))?;
    }
    for (from, to) in COMPRESSED {
        copy(&unpacked.join(from), &root.join(to))?;
        archive::compress(&root.join(to))?;
    }
    for page in listing(&unpacked.join("man"))? {
        let to = root.join("usr/share/man/man1").join(page.file_name().unwrap_or_default());
        copy(&page, &to)?;
        archive::compress(&to)?;
    }
    let doc = root.join("usr/share/doc/evergrant");
    write(&doc.join("copyright"), &copyright()?)?;
    write(&doc.join("changelog.Debian"), &changelog(release)?)?;
    archive::compress(&doc.join("changelog.Debian"))?;
    write(&root.join("usr/share/lintian/overrides/evergrant"), OVERRIDES)?;
    let (program, config) = (unpacked.join("evergrant").display().to_string(), root.join(CONFIG));
    fs::create_dir_all(config.parent().unwrap_or(&root)).map_err(|error| super::at(&config, &error))?;
    capture(command(&program, ["config", "init", "--config", &config.display().to_string()]).env("HOME", &root))?;
    control(release, &root)?;
    for mode in MODES {
        capture(command("sh", ["-c", mode]).current_dir(&root).env("EPOCH", release.epoch.to_string()))?;
    }
    let name = format!("evergrant_{}_{}.deb", version(release), architecture());
    let file = release.dist.join(&name);
    let (from, to) = (root.display().to_string(), file.display().to_string());
    let args = ["--root-owner-group", "-Zxz", "--build", &from, &to];
    capture(command("dpkg-deb", args).env("SOURCE_DATE_EPOCH", release.epoch.to_string()))?;
    check(release, &file)?;
    super::remove(&root)?;
    Ok(name)
}

/// What dpkg reads: `control`, the owner's files, checksums and scripts.
fn control(release: &Release, root: &Path) -> Result<(), Failure> {
    let folder = root.join("DEBIAN");
    let size =
        shell::stdout(command("du", ["--summarize", "--apparent-size", "--block-size=1K", "."]).current_dir(root))?;
    let kib = size.split_whitespace().next().unwrap_or_default();
    let control = CONTROL
        .replace("VERSION", &version(release))
        .replace("ARCHITECTURE", architecture())
        .replace("SIZE", kib)
        .replace("LIBRARIES", &libraries(release, root)?)
        .replace("MAINTAINER", MAINTAINER);
    write(&folder.join("control"), &control)?;
    write(&folder.join("conffiles"), &format!("/{CONFIG}\n"))?;
    let sums = "find usr -type f | LC_ALL=C sort | xargs md5sum";
    write(&folder.join("md5sums"), &shell::stdout(command("sh", ["-c", sums]).current_dir(root))?)?;
    SCRIPTS.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

/// The packages of the libraries that the program is linked with, and from which version on.
fn libraries(release: &Release, root: &Path) -> Result<String, Failure> {
    // The tool wants to stand beside a source package.
    let source = release.dist.join("source");
    super::empty(&source)?;
    write(&source.join("debian/control"), "Source: evergrant\n\nPackage: evergrant\nArchitecture: any\n")?;
    let program = root.join("usr/bin/evergrant").display().to_string();
    let said = shell::stdout(command("dpkg-shlibdeps", ["-O", "-e", &program]).current_dir(&source))?;
    super::remove(&source)?;
    let found = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    found.map(str::to_owned).ok_or_else(|| Failure::new("dpkg-shlibdeps names no libraries", &*said))
}

/// Installs the package into a folder of its own, starts the program there, and purges the package.
fn check(release: &Release, file: &Path) -> Result<(), Failure> {
    let deb = file.display().to_string();
    capture(&mut command("lintian", ["--allow-root", "--fail-on", "error,warning", &deb]))?;
    let root = release.dist.join("installed");
    super::empty(&root)?;
    for folder in ["info", "updates", "triggers"] {
        let path = root.join("var/lib/dpkg").join(folder);
        fs::create_dir_all(&path).map_err(|error| super::at(&path, &error))?;
    }
    write(&root.join("var/lib/dpkg/status"), "")?;
    // The scripts run outside of that folder, and know from `DPKG_ROOT` that this machine is none of their business.
    let inside = format!("--root={}", root.display());
    let dpkg = |args: &[&str]| {
        let how =
            [inside.as_str(), "--force-script-chrootless", "--force-not-root", "--force-depends", "--log=/dev/null"];
        capture(&mut command("dpkg", how.into_iter().chain(args.iter().copied())))
    };
    dpkg(&["--install", &deb])?;
    let said = shell::stdout(&mut command(&root.join("usr/bin/evergrant").display().to_string(), ["--version"]))?;
    if said != release.greeting {
        return Err(Failure::new("the installed program is not the packed one", said));
    }
    let verified = dpkg(&["--verify", "evergrant"])?;
    if !verified.trim().is_empty() {
        return Err(Failure::new("dpkg finds other files than the package has", verified));
    }
    enable(&root)?;
    dpkg(&["--purge", "evergrant"])?;
    let left = left(&root)?;
    if !left.is_empty() {
        return Err(Failure::new("a purge leaves files", left));
    }
    super::remove(&root)
}

/// Does what `systemctl enable evergrant.service` does for the system in a folder.
fn enable(root: &Path) -> Result<(), Failure> {
    for (unit, wanted_by) in [("evergrant.service", "multi-user.target"), ("evergrant.socket", "sockets.target")] {
        let folder = root.join("etc/systemd/system").join(format!("{wanted_by}.wants"));
        fs::create_dir_all(&folder).map_err(|error| super::at(&folder, &error))?;
        let link = folder.join(unit);
        symlink(Path::new("/usr/lib/systemd/system").join(unit), &link).map_err(|error| super::at(&link, &error))?;
    }
    Ok(())
}

/// The files and links in a folder, apart from dpkg's own.
fn left(root: &Path) -> Result<String, Failure> {
    let kinds = ["(", "-type", "f", "-o", "-type", "l", ")", "-print"];
    let but = [".", "-path", "./var/lib/dpkg", "-prune", "-o"];
    shell::stdout(command("find", but.into_iter().chain(kinds)).current_dir(root))
}

fn version(release: &Release) -> String {
    format!("{}-1", release.version)
}

/// What Debian calls this machine's kind.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The licences, as a machine reads them: a text stands behind its name with every line indented.
fn copyright() -> Result<String, Failure> {
    let path = shell::root().join("LICENSE-MIT");
    let text = fs::read_to_string(&path).map_err(|error| super::at(&path, &error))?;
    let holder =
        text.lines().find(|line| line.starts_with("Copyright")).unwrap_or("Copyright the Evergrant developers");
    let indented: String =
        text.lines().map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") }).collect();
    Ok(COPYRIGHT.replace("HOLDER", holder.trim_start_matches("Copyright").trim()).replace(" TEXT\n", &indented))
}

fn changelog(release: &Release) -> Result<String, Failure> {
    let at = format!("@{}", release.epoch);
    let date = shell::stdout(command("date", ["--utc", "--rfc-email", "--date", &at]).env("LC_ALL", "C"))?;
    Ok(format!(
        "evergrant ({}) unstable; urgency=medium\n\n  * Release {}; what changed is in changelog.gz.\n\n -- {MAINTAINER}  {}\n",
        version(release),
        release.version,
        date.trim()
    ))
}

/// Files are root's to write and everybody's to read, and as old as the commit.
const MODES: [&str; 3] = [
    "find . -type d -exec chmod 0755 {} + && find . -type f -exec chmod 0644 {} +",
    "chmod 0755 usr/bin/evergrant DEBIAN/postinst DEBIAN/prerm DEBIAN/postrm",
    "find . -exec touch --no-dereference --date=@$EPOCH {} +",
];

const CONTROL: &str = "\
Package: evergrant
Version: VERSION
Architecture: ARCHITECTURE
Maintainer: MAINTAINER
Installed-Size: SIZE
Section: net
Priority: optional
Depends: LIBRARIES
Recommends: ca-certificates
Homepage: https://github.com/evergrant/evergrant
Description: OAuth 2.0 access tokens that keep working, and a verdict on every 401
 Evergrant refreshes access tokens ahead of their end and sends requests again
 that were refused although nobody was to blame: clocks that disagree, tokens
 that are new, nodes that do not know them yet.
 .
 This package has the command evergrant with its local gateway, units for
 systemd, manual pages and completions. The units are not started: a gateway
 needs a client and its secret first.
";

const POSTINST: &str = "\
#!/bin/sh
set -e
case \"$1\" in configure | abort-upgrade | abort-deconfigure | abort-remove)
    # Notes which links `systemctl enable` makes, so that a purge can remove them.
    deb-systemd-helper update-state evergrant.socket >/dev/null || true
    deb-systemd-helper update-state evergrant.service >/dev/null || true
    ;;
esac
if [ \"$1\" = configure ] && [ -z \"${DPKG_ROOT:-}\" ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    if [ -n \"$2\" ]; then
        # Callers wait at the socket meanwhile, so none is refused.
        deb-systemd-invoke try-restart evergrant.service >/dev/null || true
    fi
fi
";

const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -z \"${DPKG_ROOT:-}\" ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop evergrant.socket evergrant.service >/dev/null || true
fi
";

const POSTRM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = purge ]; then
    # Tokens that the service kept under its dynamic user.
    rm -rf \"${DPKG_ROOT:-}/var/lib/private/evergrant\" \"${DPKG_ROOT:-}/var/lib/evergrant\"
    deb-systemd-helper purge evergrant.socket >/dev/null || true
    deb-systemd-helper purge evergrant.service >/dev/null || true
fi
if [ -z \"${DPKG_ROOT:-}\" ] && [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: evergrant
Source: https://github.com/evergrant/evergrant
Comment: The works of others that are linked in, and their licences, are in
 /usr/share/doc/evergrant/THIRD-PARTY-LICENSES.gz.

Files: *
Copyright: HOLDER
License: Expat or Apache-2.0

License: Expat
 TEXT

License: Apache-2.0
 The full text is in /usr/share/common-licenses/Apache-2.0 on Debian systems.
";

const OVERRIDES: &str = "\
# It is not uploaded to Debian.
evergrant: initial-upload-closes-no-bugs [usr/share/doc/evergrant/changelog.Debian.gz:1]
";

#[cfg(test)]
mod tests {
    use super::super::tests::Scratch;
    use super::*;

    /// Runs a script as dpkg does, for the system in a folder.
    fn script(text: &str, step: &str, root: &Path) {
        let mut sh = command("sh", ["-c", text, "script", step, ""]);
        capture(sh.env("DPKG_ROOT", root).env("DPKG_MAINTSCRIPT_PACKAGE", "evergrant")).unwrap();
    }

    #[test]
    fn a_purge_removes_the_links_of_units_that_were_enabled() {
        let scratch = Scratch::new("purge");
        let units = PLACES.iter().filter(|(_, to)| to.starts_with("usr/lib/systemd/system/"));
        let units: Vec<_> = units.map(|(from, to)| (shell::root().join("deploy").join(from), to)).collect();
        assert_eq!(units.len(), 2);
        for (from, to) in &units {
            copy(from, &scratch.path().join(to)).unwrap();
        }
        script(POSTINST, "configure", scratch.path());
        enable(scratch.path()).unwrap();
        assert_eq!(left(scratch.path()).unwrap().matches(".wants/evergrant.").count(), 2);
        script(PRERM, "remove", scratch.path());
        for (_, to) in units {
            fs::remove_file(scratch.path().join(to)).unwrap();
        }
        script(POSTRM, "remove", scratch.path());
        assert_eq!(left(scratch.path()).unwrap().matches("./etc/").count(), 2, "an owner may come back");
        script(POSTRM, "purge", scratch.path());
        assert_eq!(left(scratch.path()).unwrap(), "");
    }
}
