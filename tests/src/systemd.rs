//! The real systemd with the real unit, in a network namespace of the lab: the first process of a process
//! namespace with mounts and control groups of its own, and no other units than it needs.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;
use crate::process;
use crate::tempdir::TempDir;
use crate::wait::{self, TIMEOUT};

/// Where Debian's and Ubuntu's package `systemd` puts it.
const PROGRAM: &str = "/usr/lib/systemd/systemd";
/// The unit, as it is shipped.
const UNIT: &str = include_str!("../../packaging/lte-backup.service");
/// Its name.
pub const SERVICE: &str = "lte-backup.service";

/// Before its process namespace: a control group of its own, whose root it then sees.
const GROUP: &str = "set -e
mkdir -p /sys/fs/cgroup/lab-systemd
echo $$ > /sys/fs/cgroup/lab-systemd/cgroup.procs
exec unshare --cgroup --uts --mount --propagation private --pid --fork --kill-child --mount-proc sh -c \"$0\"
";

/// In it. What it leaves in /run, /etc and /var is its own and goes with it.
const SURROUNDINGS: &str = "set -e
mount --bind /sys/fs/cgroup/lab-systemd /sys/fs/cgroup
mount -t tmpfs -o mode=0755 none /run
mkdir -p /run/systemd/system /var/tmp /home
for target in sysinit basic shutdown network-pre multi-user lab; do
    printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/$target.target
done
cp -r \"$FILES\"/units/. /run/systemd/system/
: >> /usr/sbin/lte-userspace
mount --bind \"$AGENT\" /usr/sbin/lte-userspace
mkdir -p /etc/lte-backup /var/lib/lte-backup
mount -t tmpfs -o mode=0755 none /etc/lte-backup
mount -t tmpfs -o mode=0700 none /var/lib/lte-backup
cp -p \"$FILES\"/etc/* /etc/lte-backup/
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    \"$SYSTEMD\" --system --unit=lab.target --log-target=console --log-level=info
";

/// Runs as long as it is held.
#[derive(Debug)]
pub struct Systemd {
    process: Child,
    _files: TempDir,
}

impl Systemd {
    /// Boots it in a namespace, with the agent's config and key in /etc/lte-backup, and with what the unit is
    /// to have besides.
    pub fn boot(
        netns: &Netns,
        agent: &std::path::Path,
        config: &str,
        key: &str,
        drop_in: &str,
    ) -> Result<Self> {
        let files = TempDir::new()?;
        let units = files.path().join("units");
        let etc = files.path().join("etc");
        let more = units.join(format!("{SERVICE}.d"));
        for dir in [&units, &etc, &more] {
            std::fs::create_dir(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        files.write(&format!("units/{SERVICE}"), 0o644, UNIT)?;
        files.write(&format!("units/{SERVICE}.d/lab.conf"), 0o644, drop_in)?;
        files.write("etc/config.toml", 0o600, config)?;
        files.write("etc/private.key", 0o600, key)?;
        let process = netns.spawn(
            Command::new("sh")
                .args(["-c", GROUP, SURROUNDINGS])
                .env("FILES", files.path())
                .env("AGENT", agent)
                .env("SYSTEMD", PROGRAM)
                .stdin(Stdio::null()),
        )?;
        let mut systemd = Self {
            process,
            _files: files,
        };
        wait::until(TIMEOUT, "systemd to be there", || {
            let ended = systemd.process.try_wait()?;
            ensure!(ended.is_none(), "systemd has ended: {ended:?}");
            let asked = systemd.inside("systemctl", &["is-active", "lab.target"]);
            Ok(asked.is_ok().then_some(()))
        })?;
        Ok(systemd)
    }

    /// Runs a tool among its processes and mounts.
    pub fn inside(&self, program: &str, args: &[&str]) -> Result<String> {
        let of = |kind: &str| format!("/proc/{}/ns/{kind}", self.process.id());
        let (mounts, network) = (of("mnt"), of("net"));
        let (processes, groups) = (of("pid_for_children"), of("cgroup"));
        let mut command = vec![
            format!("--mount={mounts}"),
            format!("--net={network}"),
            format!("--pid={processes}"),
            format!("--cgroup={groups}"),
            program.to_owned(),
        ];
        command.extend(args.iter().map(|&arg| arg.to_owned()));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        process::tool("nsenter", &command, "")
    }

    /// `systemctl` with the unit's name behind it.
    pub fn unit(&self, verb: &str) -> Result<()> {
        self.inside("systemctl", &[verb, SERVICE]).map(drop)
    }

    /// A property of the unit.
    pub fn property(&self, name: &str) -> Result<String> {
        let said = self.inside(
            "systemctl",
            &["show", "--value", "--property", name, SERVICE],
        )?;
        Ok(said.trim().to_owned())
    }

    /// Waits until a property has a value.
    pub fn wait_property(&self, within: Duration, name: &str, value: &str) -> Result<()> {
        let mut found = String::new();
        wait::until(within, &format!("{name}={value}"), || {
            found = self.property(name)?;
            Ok((found == value).then_some(()))
        })
        .with_context(|| format!("it is {found}"))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // Its first process goes with it, and with that all the others.
        drop(self.process.kill());
        drop(self.process.wait());
        std::fs::remove_dir("/sys/fs/cgroup/lab-systemd").ok();
    }
}
