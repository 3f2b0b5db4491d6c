//! The settings files of Genesys Cloud's SDKs, with a gateway in them.
//!
//! All of them find one file below the home folder, at a path of their own, and say so nowhere but in code: there is no
//! variable that names it. Each file here is in the form that its SDK reads without a slip:
//!
//! - Python and JavaScript try INI first, and JSON only when that fails in one certain way. They get INI.
//! - Go panics on a gateway in INI that has no user name (`SetGateway` reads `Auth` where there is none). It gets JSON,
//!   with the port as text: a number would not fit its type, and the whole section would be dropped without a word.
//! - Java and .NET read both, and take a port in JSON as number or text. They get JSON.
//! - The CLI `gc` has TOML with a profile a table. Its `environment` must be a known one though the gateway takes its
//!   place.
//!
//! No path prefixes are needed: the gateway knows the provider's paths. Nothing in these files is a secret.
//!
//! Source: the SDKs' configuration classes, and the templates that they are made from.

use evergrant_core::profile::Region;
use serde_json::json;

use super::outfit::GATEWAY_HOST;

/// A file below a home folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SdkFile {
    /// The folder in the home folder, which is the tool's own.
    pub(super) folder: &'static str,
    /// The file in it.
    pub(super) name: &'static str,
    pub(super) content: String,
}

/// The files for a gateway at this port.
pub(super) fn files(port: &str, region: Option<Region>) -> Vec<SdkFile> {
    let ini = format!("[gateway]\nhost = {GATEWAY_HOST}\nport = {port}\nprotocol = http\n");
    let number: serde_json::Value = port.parse::<u16>().map_or_else(|_| json!(port), |port| json!(port));
    let json = json!({"gateway": {"host": GATEWAY_HOST, "port": number, "protocol": "http"}}).to_string();
    let go = json!({"gateway": {"host": GATEWAY_HOST, "port": port, "protocol": "http"}}).to_string();
    let file = |folder, content: &str| SdkFile { folder, name: "config", content: content.to_owned() };
    vec![
        file(".genesyscloudpython", &ini),
        file(".genesyscloudjavascript", &ini),
        file(".genesyscloudjava", &json),
        file(".genesysclouddotnet", &json),
        file(".genesyscloudgo", &go),
        SdkFile { folder: ".gc", name: "config.toml", content: gc(port, region.unwrap_or(Region::UsEast1)) },
    ]
}

fn gc(port: &str, region: Region) -> String {
    let domain = region.domain();
    format!(
        "[DEFAULT]\nenvironment = \"{domain}\"\ngateway_protocol = \"http\"\ngateway_host = \"{GATEWAY_HOST}\"\n\
         gateway_port = \"{port}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(folder: &str) -> String {
        let all = files("4711", Region::parse("eu-west-1").ok());
        all.into_iter().find(|file| file.folder == folder).unwrap().content
    }

    #[test]
    fn each_file_is_in_the_form_that_its_tool_reads() {
        let ini = "[gateway]\nhost = 127.0.0.1\nport = 4711\nprotocol = http\n";
        assert_eq!([content(".genesyscloudpython"), content(".genesyscloudjavascript")], [ini, ini]);
        for (folder, port) in [
            (".genesyscloudjava", json!(4711)),
            (".genesysclouddotnet", json!(4711)),
            (".genesyscloudgo", json!("4711")),
        ] {
            let read: serde_json::Value = serde_json::from_str(&content(folder)).unwrap();
            assert_eq!(read, json!({"gateway": {"host": "127.0.0.1", "port": port, "protocol": "http"}}), "{folder}");
        }
        let gc: toml::Table = content(".gc").parse().unwrap();
        assert_eq!(gc["DEFAULT"]["environment"].as_str(), Some("mypurecloud.ie"));
        assert_eq!(gc["DEFAULT"]["gateway_port"].as_str(), Some("4711"));
    }
}
