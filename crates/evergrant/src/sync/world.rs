//! Everything around the tasks of one run under shuttle: who slips, what time it is, and what the provider answers.
//!
//! **Time.** The clock is a task of its own, the first that a scene starts. [`Turn`] lets it run only when nobody else can,
//! and then it goes on to the next timer. So whoever was not woken is woken by a timer in the end, as in a real process,
//! but it costs time that can be seen: a scene ends with a bound on what time has passed, mostly none. A restless clock
//! runs whenever the scheduler picks it; then timers fire in the middle of everything, and no bound holds.
//!
//! **The provider** answers token requests in the order of a script, some steps after each was sent, and counts how many
//! were under way at once.
//!
//! All tasks of a run share one thread, so the world is a thread's own. No point of [`point`] lies inside a borrow of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evergrant_core::time::{Boot, Span};
use reqwest::{RequestBuilder, Response};
use shuttle::future::{AbortHandle, JoinHandle, yield_now};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::sync::atomic::AtomicUsize;
use tokio::sync::watch;

/// A part of [`super::shuttled`] that is broken on purpose, to show that the scenes would find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slip {
    /// What is published becomes visible some time after the keeper's lock was given back.
    PublishesLater,
    /// A waiter looks, and begins to listen for changes only when it waits.
    ForgetsBeforeItWaits,
    /// The background task is woken only if it waits already.
    WakesOnlyWhoWaits,
    /// The background task is never woken.
    WakesNobody,
    /// The lease on the store keeps nobody out.
    LeasesToEverybody,
    /// Whoever sees that a job is due does it, also if somebody else has just begun.
    ClaimsWithoutComparing,
    /// A task that is given up leaves without telling anybody.
    LeavesWithoutAWord,
}

/// What the provider answers to a token request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// 200 and a token that lives for so many seconds.
    Token(i64),
    /// 503.
    Unavailable,
    /// 400 `invalid_client`.
    InvalidClient,
}

struct World {
    slip: Option<Slip>,
    now: Boot,
    timers: BTreeMap<u64, (Boot, Waker)>,
    timers_made: u64,
    tasks: Vec<AbortHandle>,
    running: watch::Sender<usize>,
    replies: VecDeque<Reply>,
    requests: usize,
    /// The refresh tokens that were sent.
    spent: Vec<String>,
    under_way: usize,
    most_under_way: usize,
    step: Arc<AtomicUsize>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with<R>(look: impl FnOnce(&mut World) -> R) -> Option<R> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(look))
}

/// Begins a run. After the last reply of the script come tokens of an hour.
pub(crate) fn begin(slip: Option<Slip>, replies: &[Reply]) {
    WORLD.set(Some(World {
        slip,
        now: START,
        timers: BTreeMap::new(),
        timers_made: 0,
        tasks: Vec::new(),
        running: watch::Sender::new(0),
        replies: replies.iter().copied().collect(),
        requests: 0,
        spent: Vec::new(),
        under_way: 0,
        most_under_way: 0,
        step: Arc::default(),
    }));
    drop(shuttle::future::spawn(clock()));
}

/// A point at which another task may go on.
pub(crate) fn point() {
    // An atomic step of shuttle's is such a point.
    if let Some(step) = with(|world| Arc::clone(&world.step)) {
        step.load(Ordering::SeqCst);
    }
}

/// The slip of this run.
pub(crate) fn slip() -> Option<Slip> {
    with(|world| world.slip).flatten()
}

/// Is this the slip of this run?
pub(crate) fn has(slip: Slip) -> bool {
    self::slip() == Some(slip)
}

pub(crate) fn now() -> Boot {
    with(|world| world.now).unwrap_or(START)
}

/// The time that has passed since the run began.
pub(crate) fn elapsed() -> Span {
    now() - START
}

/// How many token requests were sent.
pub(crate) fn requests() -> usize {
    with(|world| world.requests).unwrap_or(0)
}

/// The refresh tokens that were sent, in their order.
pub(crate) fn spent() -> Vec<String> {
    with(|world| world.spent.clone()).unwrap_or_default()
}

/// How many token requests were under way at once, at most.
pub(crate) fn most_under_way() -> usize {
    with(|world| world.most_under_way).unwrap_or(0)
}

/// Goes on to the next timer, again and again. Where there is none for long enough all stand still, and shuttle says so.
async fn clock() {
    let mut looked_in_vain = 0;
    while looked_in_vain < LOOKS_IN_VAIN {
        let Some(next) = with(|world| world.timers.values().map(|(at, _)| *at).min()).flatten() else {
            looked_in_vain += 1;
            yield_now().await;
            continue;
        };
        looked_in_vain = 0;
        let due = with(|world| {
            world.now = world.now.max(next);
            assert!(world.now - START < LONGEST_RUN, "time goes on and on: nobody will ever be done");
            let timers = std::mem::take(&mut world.timers);
            let (due, later): (BTreeMap<_, _>, _) = timers.into_iter().partition(|(_, (at, _))| *at <= world.now);
            world.timers = later;
            due.into_values().map(|(_, waker)| waker).collect::<Vec<_>>()
        });
        due.into_iter().flatten().for_each(Waker::wake);
        yield_now().await;
    }
}

pub(crate) async fn sleep(time: Duration) {
    let at = now() + Span::from_duration(time);
    let id = with(|world| {
        world.timers_made += 1;
        world.timers_made
    });
    Timer { at, id: id.unwrap_or_default() }.await;
}

/// The time was over first.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// As tokio's: whoever is ready at once needs no time.
pub(crate) async fn timeout<F: Future>(time: Duration, task: F) -> Result<F::Output, Elapsed> {
    tokio::select! {
        biased;
        output = task => Ok(output),
        () = sleep(time) => Err(Elapsed),
    }
}

struct Timer {
    at: Boot,
    id: u64,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.at {
            return Poll::Ready(());
        }
        with(|world| world.timers.insert(self.id, (self.at, context.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        with(|world| world.timers.remove(&self.id));
    }
}

/// Starts a task of the library.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let running = with(|world| world.running.clone());
    let task = Spawned { task: Some(Box::pin(task)), running: running.clone() };
    if let Some(running) = running {
        running.send_modify(|running| *running += 1);
    }
    let handle = shuttle::future::spawn(task);
    with(|world| world.tasks.push(handle.abort_handle()));
    handle
}

/// Has the library started its `nth` task?
pub(crate) fn has_started(nth: usize) -> bool {
    with(|world| world.tasks.len() > nth).unwrap_or(false)
}

/// Gives up the task that the library started as the `nth`, if there is one.
pub(crate) fn give_up(nth: usize) {
    if let Some(task) = with(|world| world.tasks.get(nth).cloned()).flatten() {
        task.abort();
    }
}

/// Waits until every task that the library started has ended.
pub(crate) async fn all_tasks_ended() {
    let Some(mut running) = with(|world| world.running.subscribe()) else { return };
    running.wait_for(|running| *running == 0).await.expect("the world outlives its scene");
}

struct Spawned<F> {
    task: Option<Pin<Box<F>>>,
    running: Option<watch::Sender<usize>>,
}

impl<F: Future<Output = ()>> Future for Spawned<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = self.task.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(context));
        if ended.is_ready() {
            self.task = None;
        }
        ended
    }
}

impl<F> Drop for Spawned<F> {
    fn drop(&mut self) {
        match self.task.take() {
            Some(task) if has(Slip::LeavesWithoutAWord) => std::mem::forget(task),
            task => drop(task),
        }
        if let Some(running) = self.running.take() {
            running.send_modify(|running| *running -= 1);
        }
    }
}

/// Answers a token request.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, reqwest::Error> {
    let refresh_token = refresh_token(request)?;
    let rotates = refresh_token.is_some();
    point();
    let (number, reply) = with(|world| {
        world.requests += 1;
        world.spent.extend(refresh_token);
        world.under_way += 1;
        world.most_under_way = world.most_under_way.max(world.under_way);
        (world.requests, world.replies.pop_front().unwrap_or(Reply::Token(3600)))
    })
    .expect("token requests are sent inside a run only");
    let under_way = UnderWay;
    for _ in 0..STEPS_UNDER_WAY {
        yield_now().await;
    }
    drop(under_way);
    let (status, body) = match reply {
        Reply::Token(secs) => (200, token_answer(number, secs, rotates)),
        Reply::Unavailable => (503, String::new()),
        Reply::InvalidClient => (401, r#"{"error":"invalid_client"}"#.to_owned()),
    };
    let answer = http::Response::builder().status(status).body(body);
    Ok(answer.expect("a status and a body make an answer").into())
}

fn refresh_token(request: RequestBuilder) -> Result<Option<String>, reqwest::Error> {
    let request = request.build()?;
    let form = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
    let mut fields = form_urlencoded::parse(form);
    Ok(fields.find(|(name, _)| name == "refresh_token").map(|(_, token)| token.into_owned()))
}

fn token_answer(number: usize, secs: i64, rotates: bool) -> String {
    let next = if rotates { format!(r#","refresh_token":"refresh-{number}""#) } else { String::new() };
    format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{secs}{next}}}"#)
}

/// A token request that the provider has not answered.
struct UnderWay;

impl Drop for UnderWay {
    fn drop(&mut self) {
        with(|world| world.under_way -= 1);
    }
}

/// Whose turn it is: the clock's only if nobody else can run, unless the clock is restless.
pub(crate) struct Turn<S> {
    pub(crate) inner: S,
    pub(crate) is_restless: bool,
}

impl<S: Scheduler> Scheduler for Turn<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.inner.new_execution()
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        let others: Vec<_> = runnable.iter().copied().filter(|task| task.id() != TaskId::from(CLOCK)).collect();
        let offered = if self.is_restless || others.is_empty() { runnable } else { &others };
        self.inner.next_task(offered, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}

const START: Boot = Boot::from_secs(1000);
/// No scene needs more time.
const LONGEST_RUN: Span = Span::from_secs(100_000);
/// The scene itself is task 0.
const CLOCK: usize = 1;
const STEPS_UNDER_WAY: usize = 3;
const LOOKS_IN_VAIN: usize = 1000;
