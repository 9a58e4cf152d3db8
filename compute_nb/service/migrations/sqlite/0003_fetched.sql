-- When the value of a task was last handed to somebody; a sweep keeps it for a while from then on.
ALTER TABLE task ADD COLUMN fetched REAL;
CREATE INDEX task_group_of_owner ON task_group (owner, no);
