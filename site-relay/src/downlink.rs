//! From the cloud's lane into the inbox, exactly once (G2).
//!
//! Frames are applied in order by a task of their own: the records' effects and
//! the position in the cloud's lane are one commit, the acknowledgement follows
//! it (G1), and only then do broker and fan-out hear of it. A crash in between
//! costs nothing, because both read the store at start. Commands alone go to the
//! fan-out while their commit is being synced ([`Effects::hand_ahead`]).

pub(crate) mod later;
pub(crate) mod place;
#[cfg(test)]
mod tests;

use crate::{
    broker::BrokerHandle,
    compare::TellRoom,
    fanout::FanoutHandle,
    inbox::NewCommand,
    store::{StoreError, StoreHandle, txn::Txn},
    uplink::session::Ended,
};
use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};
use unifyit_protocol::{
    compare::KnownCommand,
    envelope::Decoded,
    ids::{CommandId, DeviceId},
    lan::{DownControl, TellInventory},
    lane::{Ack, Data, Lane, Receiver, Resume, Verdict},
    link::{DownRecord, Frame},
    topics::Down,
};

/// Frames that wait for their commit.
const QUEUE: usize = 64;
/// Answers that wait to be sent: more than the cloud has frames in flight, so
/// that this task never waits for the session while the session waits for it.
const ANSWERS: usize = 2048;

/// What the downlink works with.
#[derive(Clone)]
pub(crate) struct DownlinkParts {
    pub(crate) store: StoreHandle,
    pub(crate) broker: BrokerHandle,
    pub(crate) fanout: FanoutHandle,
    pub(crate) unknown: IntCounter,
}

/// What is to be done when a commit is durable.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) commands: Vec<NewCommand>,
    pub(crate) revoked: Vec<DeviceId>,
    pub(crate) separated: Vec<DeviceId>,
    /// Whose whole inventory is wanted.
    pub(crate) inventory: Vec<DeviceId>,
    pub(crate) config: bool,
    pub(crate) told: TellRoom,
    /// Who had commands before, in a time that this disk lost.
    pub(crate) had: Vec<KnownCommand>,
    /// Whether that is all.
    pub(crate) answered: bool,
    pub(crate) unknown: u64,
}

impl Effects {
    /// Hands commands to the fan-out while their commit is being synced, and says which.
    ///
    /// A crash in between, or a commit that fails, forgets that they went out. The cloud,
    /// which was told nothing, sends them again, and the device's ledger knows them (G3):
    /// as after any crash that comes before it is noted that a command was sent. What the
    /// cloud says of who had a command, and whatever changes who may get one, waits for the
    /// commit.
    fn hand_ahead(&mut self, fanout: &FanoutHandle) -> Vec<CommandId> {
        let Self {
            commands,
            revoked,
            separated,
            inventory,
            config,
            told: _,
            had,
            answered,
            unknown: _,
        } = self;
        let alone = revoked.is_empty() && separated.is_empty() && inventory.is_empty();
        let sure = had.is_empty() && !*answered && commands.iter().all(|c| c.handed.is_empty());
        if !alone || !sure || *config || commands.is_empty() {
            return Vec::new();
        }
        let ids = commands.iter().map(|c| c.command).collect();
        match fanout.commands_ahead(std::mem::take(commands)) {
            Ok(()) => ids,
            Err(back) => {
                *commands = back;
                Vec::new()
            }
        }
    }
}

/// The downlink of one session.
pub(crate) struct Downlink {
    frames: mpsc::Sender<Data>,
    answers: mpsc::Receiver<Result<Frame, Ended>>,
}

impl Downlink {
    /// Begins a session: where this relay stands.
    pub(crate) async fn open(parts: DownlinkParts) -> Result<(Self, Resume), StoreError> {
        let (epoch, through) = parts.store.write(|txn| Ok(txn.down())).await?;
        let at = Ack { lane: Lane::Urgent, epoch, through };
        let known = (epoch, through) != (0, 0);
        let mut receiver = Receiver::new(&[Lane::Urgent], known.then_some(at));
        let resume = receiver.resume();
        let (frames, queue) = mpsc::channel(QUEUE);
        let (answer, answers) = mpsc::channel(ANSWERS);
        tokio::spawn(run(parts, receiver, queue, answer));
        Ok((Self { frames, answers }, resume))
    }

    /// Takes a frame; waits when too many wait.
    pub(crate) async fn take(&self, data: Data) -> Result<(), Ended> {
        let sent = self.frames.send(data).await;
        sent.map_err(|_| Ended::Lost("the downlink stopped".into()))
    }

    /// The next frame to send.
    pub(crate) async fn next(&mut self) -> Option<Result<Frame, Ended>> {
        self.answers.recv().await
    }
}

async fn run(
    parts: DownlinkParts,
    mut receiver: Receiver,
    mut queue: mpsc::Receiver<Data>,
    answer: mpsc::Sender<Result<Frame, Ended>>,
) {
    while let Some(data) = queue.recv().await {
        let outcome = one(&parts, &mut receiver, data).await;
        let failed = outcome.is_err();
        if let Some(frame) = outcome.transpose()
            && answer.send(frame).await.is_err()
        {
            return;
        }
        if failed {
            return;
        }
    }
}

async fn one(
    parts: &DownlinkParts,
    receiver: &mut Receiver,
    data: Data,
) -> Result<Option<Frame>, Ended> {
    let apply = match receiver.accept(data)? {
        Verdict::Apply(apply) => apply,
        Verdict::Duplicate(ack) => return Ok(Some(Frame::Ack(ack))),
        Verdict::OutOfStep(resume) => return Ok(Some(Frame::Resume(resume))),
        Verdict::Ignored => return Ok(None),
    };
    let (becomes, records) = (apply.becomes, apply.records);
    let (fanout, (handed, early)) = (parts.fanout.clone(), oneshot::channel());
    let ahead = move |effects: &mut Option<Effects>| {
        let ids = effects.as_mut().map_or_else(Vec::new, |effects| effects.hand_ahead(&fanout));
        // Nobody listens any more where the relay stops.
        drop(handed.send(ids));
    };
    let take = move |txn: &mut Txn<'_>| take_records(txn, becomes, records);
    match parts.store.write_with(take, ahead).await {
        Ok(Some(effects)) => {
            receiver.committed(becomes)?;
            follow(parts, effects).await;
            Ok(Some(Frame::Ack(becomes)))
        }
        // A transaction of the session before this one ended late.
        Ok(None) => Err(Ended::Lost("the lane moved on in an earlier session".into())),
        Err(error) => {
            tracing::warn!(%error, "the cloud's records could not be stored");
            // Said once the commit failed, so what was handed on is known.
            if let Ok(ids) = early.await {
                parts.fanout.undone(ids).await;
            }
            Err(error.into())
        }
    }
}

/// Applies records and moves the position, unless they were applied already.
pub(crate) fn take_records(
    txn: &mut Txn<'_>,
    becomes: Ack,
    records: Vec<(u64, Vec<u8>)>,
) -> Result<Option<Effects>, StoreError> {
    let (epoch, through) = txn.down();
    let first = records.first().map_or(becomes.through, |(seq, _)| *seq);
    let follows = match becomes.epoch.cmp(&epoch) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => first > through && becomes.through > through,
        std::cmp::Ordering::Greater => true,
    };
    if !follows {
        return Ok(None);
    }
    let mut effects = Effects::default();
    // The cloud begins anew: one of the two was restored from an older copy.
    let anew = becomes.epoch > epoch && epoch != 0;
    if anew {
        later::forget(txn)?;
    }
    for (seq, body) in records {
        match DownRecord::decode(&body) {
            Ok(Decoded::Known(record)) => take_record(txn, record, &mut effects)?,
            // One record that this build cannot read must not stop all that follow.
            Ok(Decoded::Unknown(_)) | Err(_) => {
                effects.unknown += 1;
                later::keep(txn, (becomes.epoch, seq), &body)?;
            }
        }
    }
    end_revoked(txn, &mut effects)?;
    if anew {
        txn.tell_holds(true)?;
    }
    txn.set_down((becomes.epoch, becomes.through))?;
    Ok(Some(effects))
}

/// Ends commands for devices that a later record of the same commit revoked: the
/// fan-out hears of revocations first and would keep them for who never comes.
fn end_revoked(txn: &mut Txn<'_>, effects: &mut Effects) -> Result<(), StoreError> {
    let Effects { commands, revoked, .. } = effects;
    for device in revoked.iter() {
        let of_it = commands.iter().filter(|command| command.devices.contains(device));
        let ids: Vec<CommandId> = of_it.map(|command| command.command).collect();
        txn.end_revoked(*device, &ids)?;
    }
    for command in commands.iter_mut() {
        command.devices.retain(|device| !revoked.contains(device));
        if command.devices.is_empty() {
            txn.finish_command(command.command)?;
        }
    }
    commands.retain(|command| !command.devices.is_empty());
    Ok(())
}

fn take_record(
    txn: &mut Txn<'_>,
    record: DownRecord,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    match record {
        DownRecord::Command(deliver) => {
            effects.commands.extend(txn.take_command(deliver)?);
        }
        DownRecord::Config(config) => {
            effects.config |= txn.take_site_config(config)?;
        }
        DownRecord::RevokeDevice(device) => {
            txn.revoke_device(device)?;
            effects.revoked.push(device);
        }
        DownRecord::RevokeToken(token) => txn.revoke_token(token)?,
        DownRecord::Known(known) => {
            effects.answered |= known.answered;
            effects.had.extend(txn.take_known(known)?);
        }
        DownRecord::TellAgain(again) => {
            txn.devices_tell_again(&again, &mut effects.told)?;
            effects.inventory.extend(again.inventory);
        }
        DownRecord::AllowReenrolment(allowed) => {
            txn.allow_reenrolment(allowed.device, allowed.until_ms)?;
        }
        DownRecord::SeparateIdentity(chosen) => {
            txn.separate_identity(chosen.device, chosen.instance)?;
            effects.separated.push(chosen.device);
        }
        DownRecord::ForgetComputer(gone) => {
            txn.forget_computer(gone.device, gone.instance)?;
            effects.separated.push(gone.device);
        }
    }
    Ok(())
}

/// Asks devices for their whole inventory. Who is away is asked after the next welcome.
pub(crate) fn want_inventories(broker: &BrokerHandle, devices: Vec<DeviceId>) {
    let Ok(bytes) = DownControl::TellInventory(TellInventory {}).encode() else { return };
    let bytes = bytes::Bytes::from(bytes);
    for device in devices {
        let _away = broker.send(device, Down::Control, bytes.clone());
    }
}

/// Tells the devices that are there the site's settings. Who is away is told with the
/// next welcome.
pub(crate) fn tell_settings(store: &StoreHandle, broker: &BrokerHandle) {
    let Ok(bytes) = DownControl::Config(store.device_config()).encode() else { return };
    let bytes = bytes::Bytes::from(bytes);
    for device in broker.online() {
        let _gone = broker.send(device, Down::Control, bytes.clone());
    }
}

/// Ends the connections of devices that are out, or have to come again.
fn disconnect(broker: &BrokerHandle, effects: &Effects) {
    for device in &effects.revoked {
        broker.disconnect(*device, "the device was revoked");
    }
    // Its computers come again, and each learns what was decided.
    for device in &effects.separated {
        broker.disconnect(*device, "one of its computers gets an identity of its own");
    }
}

/// What follows a durable commit.
async fn follow(parts: &DownlinkParts, effects: Effects) {
    parts.unknown.inc_by(effects.unknown);
    disconnect(&parts.broker, &effects);
    if !effects.revoked.is_empty() {
        parts.fanout.revoked(effects.revoked).await;
    }
    want_inventories(&parts.broker, effects.inventory);
    if effects.config {
        tell_settings(&parts.store, &parts.broker);
    }
    if !effects.commands.is_empty() {
        parts.fanout.commands(effects.commands).await;
    }
    if !effects.had.is_empty() || effects.answered {
        parts.fanout.had(effects.had, effects.answered).await;
    }
}
