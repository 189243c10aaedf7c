//! What was known of providers on one day, by host name: a help for people. What is tried at the destination decides, never
//! this table. From public documentation whose age varies; nothing here was measured.

use serde::Serialize;

/// When the table was written.
const KNOWN_ON: &str = "2026-11-24";

/// A provider's own way in, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// The service.
    pub name: &'static str,
    /// Its own import, and whether that erases what is there.
    pub import: &'static str,
    /// Known limits.
    pub limits: &'static [&'static str],
    /// The day on which this was known.
    pub known_on: &'static str,
}

const fn of(name: &'static str, import: &'static str, limits: &'static [&'static str]) -> Provider {
    Provider {
        name,
        import,
        limits,
        known_on: KNOWN_ON,
    }
}

const SERVERLESS: Provider = of(
    "ElastiCache Serverless",
    "a new cache can be seeded from a snapshot in S3; an existing one takes none",
    &[
        "one virtual node holds all slots",
        "at most 3,999 arguments in a command",
    ],
);

/// By the end of the host name. The first that fits holds.
const BY_HOST: &[(&str, Provider)] = &[
    (
        ".cache.amazonaws.com",
        of(
            "ElastiCache",
            "a new cluster can be seeded from a file in S3; an existing one takes none",
            &[
                "CONFIG, MIGRATE, REPLICAOF and SYNC are closed",
                "volatile-lru unless changed: keys with expiry are evicted without a word",
                "an IAM login lasts 15 min, its connections 12 h",
            ],
        ),
    ),
    (
        ".cache.amazonaws.com.cn",
        of(
            "ElastiCache",
            "a new cluster can be seeded from a file in S3; an existing one takes none",
            &["CONFIG, MIGRATE, REPLICAOF and SYNC are closed"],
        ),
    ),
    (
        ".amazonaws.com",
        of(
            "a service of AWS (MemoryDB has names like this)",
            "a new MemoryDB cluster can be seeded from a file in S3; an existing one takes none",
            &["CONFIG, MIGRATE, REPLICAOF and SYNC are closed at MemoryDB"],
        ),
    ),
    (
        ".redis.cache.windows.net",
        of(
            "Azure Cache for Redis",
            "file import on Premium: it erases what is there",
            &[
                "CONFIG, MIGRATE, SLAVEOF and SAVE are unknown commands there",
                "idle connections are cut after 10 min",
                "volatile-lru unless changed",
                "clustered: database 0 only",
            ],
        ),
    ),
    (
        ".redis.azure.net",
        of(
            "Azure Managed Redis",
            "file import: it erases what is there",
            &[
                "the engine of Redis Enterprise: no SELECT, MIGRATE, ROLE",
                "active geo-replication: RESTORE for values of modules only",
            ],
        ),
    ),
    (
        ".redisenterprise.cache.azure.net",
        of(
            "Azure Cache for Redis Enterprise",
            "file import: it erases what is there",
            &[
                "no SELECT, MIGRATE, ROLE",
                "active geo-replication: RESTORE for values of modules only",
            ],
        ),
    ),
    (".redislabs.com", REDIS_CLOUD),
    (".redis-cloud.com", REDIS_CLOUD),
    (".rlrcp.com", REDIS_CLOUD),
    (
        ".upstash.io",
        of(
            "Upstash",
            "import of an RDB file: it deletes what is there first",
            &[
                "a request of at most 10 MB (more on larger plans), a key name of at most 32 KB",
                "payloads from elsewhere may be refused; every refusal begins with ERR",
                "database 0 only, TLS only, commands cost money or are bounded a month",
            ],
        ),
    ),
    (
        ".aivencloud.com",
        of(
            "Aiven",
            "migration from a running source; no file import is known",
            &[
                "CONFIG, CLUSTER, COMMAND, MIGRATE and REPLICAOF are closed",
                "about 5 MB a second is well for its replica, 50 MB a second is not",
                "idle connections are cut after 300 s",
            ],
        ),
    ),
    (
        ".db.ondigitalocean.com",
        of(
            "DigitalOcean",
            "migration from a running source; no file import is known",
            &["its closed commands are not known"],
        ),
    ),
    (
        ".oci.oraclecloud.com",
        of(
            "OCI Cache",
            "no file import is known",
            &[
                "ACL, CLUSTER, CONFIG SET, MIGRATE, REPLICAOF are closed; sharded: FUNCTION, EVAL and SCRIPT, too",
            ],
        ),
    ),
    (
        ".rds.aliyuncs.com",
        of(
            "Alibaba Tair",
            "migration by its data transmission service",
            &["behind a proxy not all of CLUSTER is there"],
        ),
    ),
];

const REDIS_CLOUD: Provider = of(
    "Redis Cloud",
    "import of .rdb and .rdb.gz, all shards at once: it erases what is there",
    &[
        "no SELECT, MIGRATE, ROLE; CONFIG GET of few settings",
        "Active-Active: RESTORE for values of modules only",
        "Essentials: 100 to 16,000 commands a second by size, about 1 MB a second for 250 MB",
        "volatile-lru unless changed",
    ],
);

/// What is known of the provider of a host.
pub(super) fn of_host(host: &str) -> Option<Provider> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.contains(".serverless.") && host.ends_with(".cache.amazonaws.com") {
        return Some(SERVERLESS);
    }
    BY_HOST
        .iter()
        .find(|(end, _)| host.ends_with(end))
        .map(|(_, provider)| *provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_their_ends() {
        let name = |host| of_host(host).map(|provider| provider.name);
        assert_eq!(
            name("my-cache.abc123.ng.0001.use1.cache.amazonaws.com"),
            Some("ElastiCache")
        );
        assert_eq!(
            name("x-abc.serverless.use1.cache.amazonaws.com"),
            Some("ElastiCache Serverless")
        );
        assert_eq!(name("EU1-fly.UPSTASH.io."), Some("Upstash"));
        assert_eq!(
            name("redis-1.c1.eu-west-1-3.ec2.redns.redis-cloud.com"),
            Some("Redis Cloud")
        );
        assert_eq!(name("127.0.0.1"), None);
        assert_eq!(name("upstash.io.example.com"), None);
    }
}
