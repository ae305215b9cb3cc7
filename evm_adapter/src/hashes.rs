//! KECCAK256 that notes what it hashes, for those who want to know what a slot's number came from.

use crate::{executor::EvmContext, templates::Preimages};
use lockweave_runtime::StateAccess;
use revm::interpreter::{
    Instruction, InstructionContext, InstructionExecResult, instructions::system,
    interpreter::EthInterpreter,
};

/// The instruction, for the instruction table of an executor that [watches
/// hashes](crate::EvmExecutor::watch_hashes).
pub(crate) const fn noting_keccak256<S: StateAccess>() -> Instruction<EthInterpreter, EvmContext<S>>
{
    Instruction::new(keccak256::<S>)
}

fn keccak256<S: StateAccess>(
    context: InstructionContext<'_, EvmContext<S>, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let range = (interpreter.stack.peek(0), interpreter.stack.peek(1));
    system::keccak256(InstructionContext {
        interpreter: &mut *interpreter,
        host: &mut *host,
    })?;
    let Some(preimages) = &mut host.journaled_state.preimages else {
        return Ok(());
    };
    // It went well, so both fit, and memory reaches as far.
    if let (Ok(offset), Ok(length)) = range
        && let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length))
        && length <= Preimages::BYTES_MAX
        && let Ok(hash) = interpreter.stack.peek(0)
    {
        preimages.note(hash, &interpreter.memory.slice_len(offset, length));
    }
    Ok(())
}
