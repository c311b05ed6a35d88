//! Staying, coming back, and looking around.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "files that decide about logins and start-up are written, replaced and linked",
        prepare: "mkdir -p /etc/cron.d; touch /etc/crontab; mkdir -m 700 /root/.ssh; echo job > job",
        script: r#"
echo 'evil:x:0:0::/root:/bin/sh' >> /etc/passwd
echo '* * * * * root id' > /etc/crontab.new
mv /etc/crontab.new /etc/crontab
ln -s /srv/job /etc/cron.d/job
"#,
        reports: &[
            "picket_sensitive_file_linked",
            "picket_sensitive_file_replaced",
            "picket_sensitive_file_written",
        ],
    },
    Case {
        name: "a key is added, and a link put in a file's place at once",
        prepare: "mkdir -m 700 /root/.ssh; touch /root/.ssh/authorized_keys",
        script: r#"
echo key >> /root/.ssh/authorized_keys
ln -sf /srv/keys /root/.ssh/authorized_keys
"#,
        reports: &[
            "picket_sensitive_file_replaced",
            "picket_sensitive_file_written",
        ],
    },
    Case {
        name: "a key is added in a service's home, a unit to its user's",
        prepare: "mkdir -p redis/.ssh /home/app/.config/systemd/user",
        script: r#"
echo key > redis/.ssh/authorized_keys
echo unit > /home/app/.config/systemd/user/job.service
"#,
        reports: &[
            "picket_sensitive_file_written",
            "picket_sensitive_file_written",
        ],
    },
    Case {
        name: "such a file is edited in place",
        prepare: "mkdir -p /etc/ssh; echo PermitRootLogin no > /etc/ssh/sshd_config",
        script: "sed -i s/no/yes/ /etc/ssh/sshd_config",
        reports: &["picket_sensitive_file_replaced"],
    },
    Case {
        name: "a folder of such files is put in place whole",
        prepare: "rm -rf /root/.ssh; mkdir -m 700 /root/keys",
        script: "mv /root/keys /root/.ssh",
        reports: &["picket_sensitive_file_replaced"],
    },
    Case {
        name: "a folder of such files is linked to",
        prepare: "rm -rf /root/.ssh",
        script: "ln -s /srv/keys /root/.ssh",
        reports: &["picket_sensitive_file_linked"],
    },
    Case {
        name: "such files are read, and files like them written",
        prepare: "mkdir -p etc/cron.d; mkdir -m 700 /root/.ssh; touch /etc/crontab",
        script: r#"
cat /etc/passwd /etc/crontab /etc/profile
echo host >> /root/.ssh/known_hosts
echo x > etc/passwd
echo x > etc/cron.d/job
ln -s /srv/job etc/cron.d/link
cp /etc/resolv.conf /etc/resolv.conf.new
mv /etc/resolv.conf.new /etc/app.conf
"#,
        reports: &[],
    },
    Case {
        name: "something is made to run again",
        prepare: "for tool in crontab systemctl at; do cp /usr/bin/true $tool; done",
        script: "./crontab job; ./systemctl enable job; ./at now",
        reports: &[
            "picket_cron_changed",
            "picket_cron_changed",
            "picket_cron_changed",
        ],
    },
    Case {
        name: "what is scheduled is listed",
        prepare: "for tool in crontab systemctl at; do cp /usr/bin/true $tool; done",
        script: "./crontab -l; ./systemctl status job; ./at -l",
        reports: &[],
    },
    Case {
        name: "programs with more rights are looked for",
        prepare: "cp /usr/bin/true getcap; cp /usr/bin/true capsh",
        script: "find /srv -perm -4000 -type f; ./getcap -r /srv; ./capsh --print",
        reports: &[
            "picket_discovery_command",
            "picket_discovery_command",
            "picket_discovery_command",
        ],
    },
    Case {
        name: "files are looked for as entry points do",
        prepare: "cp /usr/bin/true getcap",
        script: "find /srv ! -user root -exec chown root {} +; find /srv -perm -0600; ./getcap /usr/bin/true",
        reports: &[],
    },
];
