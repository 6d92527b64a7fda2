-- Up Migration

-- Discussions that were deleted and whose messages, or events, are not all gone yet. Nobody is a member of
-- them, the log tells nothing of them any more (view log_events), and remove_deleted() takes the rest away in
-- steps. See docs/decisions/0018-deleting-in-steps.md.
CREATE TABLE discussion_removals (
  discussion_id uuid PRIMARY KEY,
  -- Its events up to this position are emptied, and its messages up to this seq are gone. Else each step
  -- would walk over all that those before it left in the indexes, while an open snapshot (a backup) keeps it.
  erased_to     bigint NOT NULL DEFAULT 0,
  removed_to    bigint NOT NULL DEFAULT 0
);
