-- The task that runs in the place of another one; at most one does.
CREATE UNIQUE INDEX task_retry ON task (retry_of) WHERE retry_of IS NOT NULL;
