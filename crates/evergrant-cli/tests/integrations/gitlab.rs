//! The job for GitLab CI: GitLab's schema accepts it, and its scripts do what they say.

use serde_json::Value;

use crate::checks::{schema, yaml};
use crate::job::Job;
use crate::root;

const FILE: &str = "examples/gitlab-ci/.gitlab-ci.yml";

#[test]
fn the_job_is_one_in_the_eyes_of_gitlab() {
    schema("vendor.gitlab-ci", &root(FILE));
}

#[test]
fn the_scripts_of_the_job_do_what_they_say() {
    let file = yaml(&std::fs::read_to_string(root(FILE)).unwrap()).remove(0);
    let described = &file["nightly"];
    let job = Job::new("gitlab");
    let project = job.folder.to_str().unwrap().to_owned();
    let mut env = job.env.clone();
    env.extend(job.settings());
    env.insert("CI_PROJECT_DIR".to_owned(), project.clone());
    Job::extend(&mut env, &described["variables"], |text| text.replace("$CI_PROJECT_DIR", &project));

    // One shell runs what comes before and the script; what comes after has one of its own.
    let script = [lines(&described["before_script"]), lines(&described["script"])].concat().join("\n");
    let log = job.run(&["bash", "-eo", "pipefail"], &script, &env);
    job.check_results(&log);
    job.run(&["bash", "-eo", "pipefail"], &lines(&described["after_script"]).join("\n"), &env);

    assert!(!job.folder.join(".evergrant").exists(), "no token is left in the folder");
    for path in lines(&described["artifacts"]["paths"]) {
        assert!(job.folder.join(path).exists(), "{path}");
    }
}

fn lines(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}
