//! The job for GitHub Actions: actionlint and GitHub's schema accept it, and its steps do what they say.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::checks::{content, node, schema, yaml};
use crate::job::Job;
use crate::root;

const WORKFLOW: &str = "examples/github-actions/nightly.yml";

#[test]
fn the_workflow_is_one_in_the_eyes_of_github() {
    schema("vendor.github-workflows", &root(WORKFLOW));
    content(node("actionlint.mjs").arg(root(WORKFLOW)), "");
}

#[test]
fn the_linter_sees_a_mistake() {
    let text = std::fs::read_to_string(root(WORKFLOW)).unwrap().replace("secrets.", "secret.");
    let file = crate::parts::scratch("actionlint").join("workflow.yml");
    std::fs::write(&file, text).unwrap();
    let output = node("actionlint.mjs").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("undefined variable"), "{said}");
}

#[test]
fn the_steps_of_the_workflow_do_what_they_say() {
    let workflow = yaml(&std::fs::read_to_string(root(WORKFLOW)).unwrap()).remove(0);
    let described = &workflow["jobs"]["export"];
    let mut job = Job::new("github");
    let temporary = job.folder.with_file_name("temp");
    std::fs::create_dir(&temporary).unwrap();
    let files = ["GITHUB_PATH", "GITHUB_ENV"].map(|name| (name, job.folder.with_file_name(name)));
    for (name, path) in [("RUNNER_TEMP", &temporary), (files[0].0, &files[0].1), (files[1].0, &files[1].1)] {
        job.env.insert(name.to_owned(), path.to_str().unwrap().to_owned());
    }
    let mut env = job.env.clone();
    Job::extend(&mut env, &described["env"], |text| expand(&job, text));

    let mut log = String::new();
    for step in described["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else {
            check_action(&job, step);
            continue;
        };
        let mut own = env.clone();
        Job::extend(&mut own, &step["env"], |text| expand(&job, text));
        log += &job.run(&["bash", "-e"], script, &own);
        note(&mut env, &files.each_ref().map(|(_, path)| std::fs::read_to_string(path).unwrap_or_default()));
    }
    job.check_results(&log);
}

/// What a step has written for those after it.
fn note(env: &mut BTreeMap<String, String>, [path, variables]: &[String; 2]) {
    for folder in path.lines() {
        let known = &env["PATH"];
        if !known.contains(folder) {
            env.insert("PATH".to_owned(), format!("{folder}:{known}"));
        }
    }
    for (name, value) in variables.lines().map(|line| line.split_once('=').unwrap()) {
        env.insert(name.to_owned(), value.to_owned());
    }
}

/// `${{ vars.NAME }}` and `${{ secrets.NAME }}`; the examples use nothing else of the language.
fn expand(job: &Job, text: &str) -> String {
    let Some((before, rest)) = text.split_once("${{") else { return text.to_owned() };
    let (expression, after) = rest.split_once("}}").unwrap();
    let (context, name) = expression.trim().split_once('.').unwrap();
    assert_eq!(context == "secrets", name.ends_with("SECRET"), "a secret is kept as one: {expression}");
    assert!(matches!(context, "vars" | "secrets"), "{expression}");
    format!("{before}{}{}", job.setting(name), expand(job, after))
}

/// The actions that the workflow uses of GitHub's: one brings the tree, the other takes files that must be there.
fn check_action(job: &Job, step: &Value) {
    let action = step["uses"].as_str().unwrap();
    if action.starts_with("actions/checkout@") {
        return;
    }
    assert!(action.starts_with("actions/upload-artifact@"), "{action}");
    for path in step["with"]["path"].as_str().unwrap().lines() {
        assert!(job.folder.join(path).exists(), "{path}");
    }
}
