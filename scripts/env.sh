# shellcheck shell=bash
# Where everything that is not source lives: outside the clone, so that a fresh
# clone builds on what an earlier one has compiled. Sourced, never run.
TOOLS="${INVOICE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/invoice-platform}"
export INVOICE_TOOLS="$TOOLS"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TOOLS/target}"
export PATH="$TOOLS/venv/bin:$TOOLS/bin:$PATH:$HOME/.cargo/bin"

# Gives the one executable in a folder the name of each task in it, as the image does.
link_tasks() {
    local task
    for task in $("$1/all_tasks" --list); do ln -sf all_tasks "$1/$task"; done
}
