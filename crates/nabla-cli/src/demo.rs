//! `nabla demo`: the main job from end to end, on a network inside this process.
//!
//! Every node is a real one, started by the code that starts it on a machine of its own, with its own
//! folder and its own listener on loopback. Nothing is left behind. Each step says what it shows, measures
//! it, and fails the whole if it does not hold.

pub(crate) mod bundled;
mod frauds;
mod liar;
mod network;
mod picture;
mod steps;
mod story;
mod words;

use anyhow::Result;

use crate::output::Output;
use story::Story;

/// Run all steps and print the story.
pub(crate) async fn run(output: Output) -> Result<()> {
    let mut story = Story::new(output);
    let result = tell(&mut story).await;
    story.end(result)
}

async fn tell(story: &mut Story) -> Result<()> {
    let mut network = story.step("start", steps::start()).await?;
    story.step("publish", steps::publish(&network)).await?;
    story.step("lose storage", steps::lose_storage(&mut network)).await?;
    let served = story.step("serve", steps::serve(&network)).await?;
    story.step("pay", steps::pay(&network)).await?;
    story.step("verify offline", steps::verify_offline(&network, &served)).await?;
    story.step("replay", steps::replay(&network, &served)).await?;
    story.step("chat", words::chat(&network)).await?;
    story.step("embed", async { words::embed(&network) }).await?;
    story.step("draw", async { picture::draw(&network) }).await?;
    story.step("fraud: answer", async { frauds::changed_answer(&served) }).await?;
    story.step("fraud: weights", frauds::other_weights(&mut network)).await?;
    story.step("fraud: shard", frauds::corrupted_shard(&mut network)).await?;
    network.stop().await;
    Ok(())
}
