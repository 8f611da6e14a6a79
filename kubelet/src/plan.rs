//! What a pod's containers need next: a pure function of what was asked for and what is observed.
//!
//! No I/O, no clock: `now` is an argument, so that every rule is a line in a table of tests.
use crate::state::{ContainerRecord, ContainerState, Phase, PodRecord, Role};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start again whatever the exit code was.
    Always,
    /// Start again after a failure.
    OnFailure,
    /// Leave it ended.
    Never,
}

impl RestartPolicy {
    /// Reads the field; what validation let through and is unknown counts as the default.
    #[must_use]
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }
    /// Whether a main container that ended with this code is started again.
    #[must_use]
    pub fn again(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// What follows when one container ends: `restartPolicyRules`, its own `restartPolicy`, or the pod's.
#[derive(Clone, Debug, PartialEq)]
pub struct Restarts {
    policy: RestartPolicy,
    rules: Vec<ContainerRestartRule>,
}

impl Restarts {
    /// One for each container, init containers first, as the pod's state has them.
    #[must_use]
    pub fn of(record: &PodRecord) -> Vec<Self> {
        let spec = record.pod.spec.as_ref();
        let pod = RestartPolicy::of(spec.and_then(|spec| spec.restart_policy.as_deref()));
        record
            .containers()
            .map(|(role, container)| Self::of_one(pod, role, container))
            .collect()
    }

    fn of_one(pod: RestartPolicy, role: Role, container: &Container) -> Self {
        let own = container.restart_policy.as_deref();
        let policy = own.map_or(pod, |own| RestartPolicy::of(Some(own)));
        // An init container that has done its work is not started again.
        let policy = match (role, policy) {
            (Role::Init, RestartPolicy::Always) => RestartPolicy::OnFailure,
            (Role::Init | Role::Main | Role::Sidecar, policy) => policy,
        };
        let rules = container.restart_policy_rules.clone();
        Restarts {
            policy,
            rules: rules.unwrap_or_default(),
        }
    }

    /// Whether the container is started again after this exit code.
    #[must_use]
    pub fn again(&self, exit_code: i32) -> bool {
        self.rules.iter().any(|rule| matches(rule, exit_code)) || self.policy.again(exit_code)
    }
}

impl From<RestartPolicy> for Restarts {
    fn from(policy: RestartPolicy) -> Self {
        let rules = Vec::new();
        Restarts { policy, rules }
    }
}

fn matches(rule: &ContainerRestartRule, exit_code: i32) -> bool {
    let Some(codes) = rule
        .exit_codes
        .as_ref()
        .filter(|_| rule.action == "Restart")
    else {
        return false;
    };
    let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
    match codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// How long to wait between two tries: at once, then 10 s doubling to 5 minutes; forgotten after 10
/// minutes of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait that is not zero.
    pub base: SignedDuration,
    /// The longest wait.
    pub max: SignedDuration,
    /// A container that ran this long starts with a clean slate.
    pub reset_after: SignedDuration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base: SignedDuration::from_secs(10),
            max: SignedDuration::from_mins(5),
            reset_after: SignedDuration::from_mins(10),
        }
    }
}

impl Backoff {
    /// The wait after `failures` ends in a row: none after the first.
    #[must_use]
    pub fn wait(&self, failures: u32) -> SignedDuration {
        let Some(doublings) = failures.checked_sub(2) else {
            return SignedDuration::ZERO;
        };
        let factor = 1_i32.checked_shl(doublings.min(20)).unwrap_or(i32::MAX);
        (self.base.saturating_mul(factor)).min(self.max)
    }
    /// The number of ends in a row, the one just seen included.
    #[must_use]
    pub fn count(&self, before: u32, ran: SignedDuration) -> u32 {
        if ran >= self.reset_after {
            1
        } else {
            before.saturating_add(1)
        }
    }
}

/// The time so long after another.
#[must_use]
pub fn later(than: Timestamp, wait: SignedDuration) -> Timestamp {
    than.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A wait for people, as Go prints durations: `5m0s`, `40s`, `500ms`.
#[must_use]
pub fn seconds(wait: SignedDuration) -> String {
    match (
        wait.as_secs() / 60,
        wait.as_secs() % 60,
        wait.subsec_millis(),
    ) {
        (0, 0, millis) => format!("{millis}ms"),
        (0, seconds, _) => format!("{seconds}s"),
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

/// A time for people: to the second, in UTC.
#[must_use]
pub fn clock(at: Timestamp) -> String {
    format!("{:.0}", at.round(jiff::Unit::Second).unwrap_or(at))
}

/// The next thing to do for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start the container of this index now.
    Start(usize),
    /// The container of this index waits in back-off until then.
    Retry(usize, Timestamp),
    /// All main containers have ended for good: end the sidecars, last one first.
    StopSidecars,
    /// Nothing runs and nothing will: the pod is over.
    End(Phase),
}

/// What to do now; `restarts` are those of the same containers in the same order. An empty list means: wait for an event.
#[must_use]
pub fn plan(restarts: &[Restarts], containers: &[ContainerRecord], now: Timestamp) -> Vec<Step> {
    let pairs = || restarts.iter().zip(containers).enumerate();
    let over = pairs()
        .filter(|(_, (_, container))| container.role == Role::Main)
        .all(|(_, (restarts, main))| is_over(restarts, main));
    if over {
        let failed =
            mains(containers).any(|main| main.last_end().is_some_and(|end| end.exit_code != 0));
        let phase = if failed {
            Phase::Failed
        } else {
            Phase::Succeeded
        };
        return ended(containers, phase);
    }
    let mut steps = Vec::new();
    for (index, (restarts, container)) in pairs() {
        match container.role {
            Role::Init => match init_progress(restarts, container) {
                InitProgress::Done => {}
                InitProgress::Failed => return ended(containers, Phase::Failed),
                InitProgress::Due => {
                    steps.push(due(index, container, now));
                    return steps;
                }
                InitProgress::Runs => return steps,
            },
            Role::Sidecar => {
                if !container.running() {
                    steps.push(due(index, container, now));
                }
                if !container.running() || !container.started {
                    // The next init container waits until this one has started.
                    return steps;
                }
            }
            Role::Main if container.running() || is_over(restarts, container) => {}
            Role::Main => steps.push(due(index, container, now)),
        }
    }
    steps
}

/// The pod's phase while it is not over.
#[must_use]
pub fn phase(containers: &[ContainerRecord]) -> Phase {
    // A main container begins after all init containers; once they have all begun, what init containers do again
    // (the sandbox was lost) does not take the pod back.
    let begun = mains(containers).all(|main| main.running() || main.last_end().is_some());
    if begun {
        Phase::Running
    } else {
        Phase::Pending
    }
}

/// Whether an init container has done its work.
#[must_use]
pub fn init_done(container: &ContainerRecord) -> bool {
    matches!(&container.state, ContainerState::Terminated(end) if end.exit_code == 0)
}

enum InitProgress {
    Done,
    Failed,
    Due,
    Runs,
}

fn init_progress(restarts: &Restarts, container: &ContainerRecord) -> InitProgress {
    match &container.state {
        ContainerState::Running { .. } => InitProgress::Runs,
        ContainerState::Waiting { .. } => InitProgress::Due,
        ContainerState::Terminated(end) if end.exit_code == 0 => InitProgress::Done,
        ContainerState::Terminated(end) if restarts.again(end.exit_code) => InitProgress::Due,
        ContainerState::Terminated(_) => InitProgress::Failed,
    }
}

/// Whether a main container has ended and will not be started again.
fn is_over(restarts: &Restarts, main: &ContainerRecord) -> bool {
    matches!(&main.state, ContainerState::Terminated(end) if !restarts.again(end.exit_code))
}

fn due(index: usize, container: &ContainerRecord, now: Timestamp) -> Step {
    match container.retry_at {
        Some(at) if at > now => Step::Retry(index, at),
        _ => Step::Start(index),
    }
}

fn mains(containers: &[ContainerRecord]) -> impl Iterator<Item = &ContainerRecord> {
    containers
        .iter()
        .filter(|container| container.role == Role::Main)
}

fn ended(containers: &[ContainerRecord], phase: Phase) -> Vec<Step> {
    let runs = containers.iter().any(ContainerRecord::running);
    vec![if runs {
        Step::StopSidecars
    } else {
        Step::End(phase)
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Termination;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn container(role: Role, state: &str) -> ContainerRecord {
        let mut record = ContainerRecord::new("c", role);
        record.started = state.ends_with('!');
        record.state = match state.trim_end_matches('!') {
            "waiting" => return record,
            "later" => {
                record.retry_at = Some(NOW + SignedDuration::from_secs(10));
                return record;
            }
            "running" => ContainerState::Running {
                pid: 1,
                started: NOW,
            },
            code => ContainerState::Terminated(Termination {
                exit_code: code.parse().unwrap(),
                signal: 0,
                reason: String::new(),
                message: String::new(),
                started: NOW,
                finished: NOW,
            }),
        };
        record
    }

    /// `containers` reads like `init:0 sidecar:running! main:waiting`.
    #[track_caller]
    fn check(policy: RestartPolicy, containers: &str, want: &str) {
        let containers: Vec<_> = containers
            .split_whitespace()
            .map(|word| {
                let (role, state) = word.split_once(':').unwrap();
                let role = match role {
                    "init" => Role::Init,
                    "sidecar" => Role::Sidecar,
                    _ => Role::Main,
                };
                container(role, state)
            })
            .collect();
        let restarts = vec![Restarts::from(policy); containers.len()];
        let steps: Vec<_> = plan(&restarts, &containers, NOW)
            .iter()
            .map(|step| match step {
                Step::Start(index) => format!("start{index}"),
                Step::Retry(index, _) => format!("retry{index}"),
                Step::StopSidecars => "stop".to_owned(),
                Step::End(phase) => phase.as_str().to_owned(),
            })
            .collect();
        assert_eq!(steps.join(" "), want, "{containers:?}");
    }

    #[test]
    fn main_containers_start_together() {
        check(
            RestartPolicy::Always,
            "main:waiting main:waiting",
            "start0 start1",
        );
        check(RestartPolicy::Always, "main:running main:waiting", "start1");
        check(RestartPolicy::Always, "main:running main:running", "");
    }

    #[test]
    fn init_containers_run_one_after_another() {
        check(
            RestartPolicy::Always,
            "init:waiting init:waiting main:waiting",
            "start0",
        );
        check(
            RestartPolicy::Always,
            "init:running init:waiting main:waiting",
            "",
        );
        check(
            RestartPolicy::Always,
            "init:0 init:waiting main:waiting",
            "start1",
        );
        check(
            RestartPolicy::Always,
            "init:0 init:0 main:waiting",
            "start2",
        );
        check(RestartPolicy::Always, "init:1 main:waiting", "start0");
        check(RestartPolicy::OnFailure, "init:1 main:waiting", "start0");
        check(RestartPolicy::Never, "init:1 main:waiting", "Failed");
        check(RestartPolicy::Always, "init:later main:waiting", "retry0");
    }

    #[test]
    fn sidecars_start_in_order_and_end_last() {
        check(
            RestartPolicy::Never,
            "sidecar:waiting init:waiting main:waiting",
            "start0",
        );
        check(
            RestartPolicy::Never,
            "sidecar:running init:waiting main:waiting",
            "",
        );
        check(
            RestartPolicy::Never,
            "sidecar:running! init:waiting main:waiting",
            "start1",
        );
        check(
            RestartPolicy::Never,
            "sidecar:1! init:0 main:running",
            "start0",
        );
        check(RestartPolicy::Never, "sidecar:running! main:0", "stop");
        check(RestartPolicy::Never, "sidecar:0! main:0", "Succeeded");
        check(RestartPolicy::Never, "sidecar:137! main:3", "Failed");
        check(
            RestartPolicy::Never,
            "sidecar:running! init:1 main:waiting",
            "stop",
        );
    }

    #[test]
    fn the_restart_policy_decides_after_an_end() {
        check(RestartPolicy::Always, "main:0", "start0");
        check(RestartPolicy::OnFailure, "main:0", "Succeeded");
        check(RestartPolicy::OnFailure, "main:1", "start0");
        check(RestartPolicy::Never, "main:1", "Failed");
        check(RestartPolicy::Never, "main:0 main:running", "");
        check(RestartPolicy::Never, "main:0 main:1", "Failed");
        check(RestartPolicy::OnFailure, "main:0 main:later", "retry1");
    }

    #[test]
    fn a_lost_sandbox_runs_init_containers_again_only_for_what_is_left_to_do() {
        check(RestartPolicy::Always, "init:waiting main:waiting", "start0");
        check(RestartPolicy::Never, "init:waiting main:137", "Failed");
        check(
            RestartPolicy::OnFailure,
            "init:waiting sidecar:waiting main:0",
            "Succeeded",
        );
        check(
            RestartPolicy::OnFailure,
            "init:waiting main:0 main:137",
            "start0",
        );
        check(RestartPolicy::OnFailure, "init:0 main:0 main:137", "start2");
    }

    /// What a container of that role with these fields does after exit codes 0, 1 and 42 in a pod with that policy.
    #[track_caller]
    fn check_restarts(pod: &str, init: bool, fields: &str, want: &str) {
        let fields: serde_json::Value = serde_json::from_str(fields).unwrap();
        let mut one = serde_json::json!({"name": "c", "image": "x"});
        one.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let (inits, mains) = if init {
            (vec![one], vec![])
        } else {
            (vec![], vec![one])
        };
        let pod = serde_json::json!({"metadata": {"name": "p"},
            "spec": {"restartPolicy": pod, "initContainers": inits, "containers": mains}});
        let record = PodRecord::new(serde_json::from_value(pod).unwrap(), NOW);
        let restarts = Restarts::of(&record).remove(0);
        let got: String = [0, 1, 42]
            .map(|code| if restarts.again(code) { 'r' } else { '-' })
            .iter()
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_container_may_have_a_policy_and_rules_of_its_own() {
        let rule = |policy: &str, operator: &str| {
            format!(
                r#"{{"restartPolicy": "{policy}", "restartPolicyRules": [{{"action": "Restart", "exitCodes":
                   {{"operator": "{operator}", "values": [42]}}}}]}}"#
            )
        };
        check_restarts("Always", false, "{}", "rrr");
        check_restarts("Always", true, "{}", "-rr");
        check_restarts("Never", true, "{}", "---");
        check_restarts("Never", false, r#"{"restartPolicy": "OnFailure"}"#, "-rr");
        check_restarts("Always", false, r#"{"restartPolicy": "Never"}"#, "---");
        check_restarts("Always", true, r#"{"restartPolicy": "Never"}"#, "---");
        check_restarts("Never", true, r#"{"restartPolicy": "Always"}"#, "rrr");
        check_restarts("Always", false, &rule("Never", "In"), "--r");
        check_restarts("Always", false, &rule("Never", "NotIn"), "rr-");
        check_restarts("Never", false, &rule("OnFailure", "In"), "-rr");
    }

    #[test]
    fn the_phase_follows_kubernetes() {
        let of = |words: &[(Role, &str)]| {
            phase(
                &words
                    .iter()
                    .map(|(role, state)| container(*role, state))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            of(&[(Role::Init, "running"), (Role::Main, "waiting")]),
            Phase::Pending
        );
        assert_eq!(
            of(&[(Role::Init, "0"), (Role::Main, "waiting")]),
            Phase::Pending
        );
        assert_eq!(
            of(&[(Role::Init, "0"), (Role::Main, "running")]),
            Phase::Running
        );
        assert_eq!(
            of(&[(Role::Main, "running"), (Role::Main, "waiting")]),
            Phase::Pending
        );
        assert_eq!(of(&[(Role::Main, "1")]), Phase::Running);
        assert_eq!(
            of(&[(Role::Init, "running"), (Role::Main, "1")]),
            Phase::Running
        );
    }

    #[test]
    fn the_wait_doubles_to_its_limit() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..10)
            .map(|failures| backoff.wait(failures).as_secs())
            .collect();
        assert_eq!(waits, [0, 0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff.wait(u32::MAX).as_secs(), 300);
        assert_eq!(backoff.count(7, SignedDuration::from_mins(10)), 1);
        assert_eq!(backoff.count(7, SignedDuration::from_secs(599)), 8);
    }
}
