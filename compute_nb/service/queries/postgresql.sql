-- Every statement of the store, by name: `-- name: x`, a sentence, the statement; as in sqlite.sql, where the
-- braces are explained. What inserts a row whose number is wanted ends with RETURNING no.

-- name: version
-- The schema version.
SELECT max(version) FROM migration

-- name: add_migration
-- A step of the schema is done.
INSERT INTO migration (version, at) VALUES (%s, %s)

-- name: give_up_answers
-- Whoever has not been answered yet will ask again.
UPDATE submit SET answered = 2 WHERE answered = 0

-- name: meta
-- The value of one setting.
SELECT value FROM meta WHERE key = %s

-- name: set_meta
-- Stores one setting.
INSERT INTO meta (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: tally
-- How many tasks are in each state.
SELECT state, n FROM tally

-- name: add_to_tally
-- Keeps the counts true with the commit that changes them.
UPDATE tally SET n = n + %s WHERE state = %s


-- name: add_principal
-- A new token.
INSERT INTO principal (public_id, name, owner, kind, secret_hash, generation, scope, created)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: principal
-- The token that is not revoked.
SELECT public_id, name, owner, kind, secret_hash, generation, scope, created, revoked
FROM principal WHERE public_id = %s AND revoked IS NULL

-- name: principals
-- All tokens of a user, revoked ones too.
SELECT public_id, name, owner, kind, secret_hash, generation, scope, created, revoked
FROM principal WHERE owner = %s ORDER BY created

-- name: revoke_principal
-- Makes a token void for good.
UPDATE principal SET revoked = %s, generation = generation + 1 WHERE public_id = %s AND revoked IS NULL

-- name: all_principals
-- All tokens, revoked ones too.
SELECT public_id, name, owner, kind, secret_hash, generation, scope, created, revoked
FROM principal ORDER BY created

-- name: bearer
-- Whom a token speaks for, if neither it is revoked nor its user removed.
SELECT p.public_id, p.owner, a.name, a.admin, p.secret_hash, p.scope
FROM principal p LEFT JOIN account a ON a.id = p.owner
WHERE p.public_id = %s AND p.revoked IS NULL AND a.removed IS NULL

-- name: add_account
-- A new user.
INSERT INTO account (id, name, admin, created) VALUES (%s, %s, %s, %s)

-- name: account
-- A user who is not removed.
SELECT id, name, admin, created, removed FROM account WHERE id = %s AND removed IS NULL

-- name: account_named
-- Whether a name is taken.
SELECT id FROM account WHERE name = %s AND removed IS NULL

-- name: accounts
-- All users who are not removed.
SELECT id, name, admin, created, removed FROM account WHERE removed IS NULL ORDER BY created, name

-- name: set_admin
-- Whether a user sees to the accounts.
UPDATE account SET admin = %s WHERE id = %s

-- name: remove_account
-- A user comes in no more; his name is free again.
UPDATE account SET removed = %s WHERE id = %s

-- name: groups_of_account
-- The groups that a user is in.
SELECT grp FROM membership WHERE account = %s ORDER BY grp

-- name: is_member
-- Whether a user is in a group.
SELECT 1 FROM membership WHERE account = %s AND grp = %s

-- name: join_group
-- A user is in a group from now on.
INSERT INTO membership (account, grp) VALUES (%s, %s)

-- name: leave_groups
-- A user is in no group any more.
DELETE FROM membership WHERE account = %s

-- name: open_of_owner
-- How many tasks of a user have not ended: by way of the endpoints, whose indexes hold open tasks only.
SELECT (SELECT count(*) FROM endpoint e CROSS JOIN task t
        WHERE t.endpoint = e.no AND t.state = {WAITING} AND t.sent_at IS NULL
        AND t.grp IN (SELECT no FROM task_group WHERE owner = %(owner)s))
     + (SELECT count(*) FROM endpoint e CROSS JOIN task t
        WHERE t.endpoint = e.no AND t.sent_at IS NOT NULL AND {open}
        AND t.grp IN (SELECT no FROM task_group WHERE owner = %(owner)s))

-- name: places_of_group
-- A page of those tasks of a group in whose place no other one runs, in the order of ids.
SELECT t.id, t.submitted FROM task t
WHERE t.grp = %s AND t.id > %s AND NOT EXISTS (SELECT 1 FROM task r WHERE r.retry_of = t.id)
ORDER BY t.id LIMIT %s

-- name: add_function
-- A new function; its code is opaque.
INSERT INTO function (id, owner, name, code, meta, description, public, created, grp)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)

-- name: function
-- One function with its code.
SELECT id, owner, name, code, meta, description, public, created, grp
FROM function WHERE id = %s AND deleted IS NULL

-- name: function_access
-- What a submit must know of a function.
SELECT no, owner, public, grp FROM function WHERE id = %s AND deleted IS NULL

-- name: function_code
-- What an agent must know of a function; one that was deleted still serves accepted tasks.
SELECT id, code FROM function WHERE no = %s

-- name: delete_function
-- Nobody can submit to it any more.
UPDATE function SET deleted = %s WHERE id = %s


-- name: add_endpoint
-- A new endpoint.
INSERT INTO endpoint (id, owner, name, display_name, kind, public, metadata, registered)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)

-- name: update_endpoint
-- An agent registers again under the same id.
UPDATE endpoint
SET name = %s, display_name = %s, kind = %s, public = %s, metadata = %s, registered = %s, deleted = NULL
WHERE id = %s

-- name: endpoint
-- One endpoint that is not deleted.
SELECT id, owner, name, display_name, kind, public, metadata, agent, last_seen, registered
FROM endpoint WHERE id = %s AND deleted IS NULL

-- name: endpoint_owner
-- Whose an endpoint is, deleted or not.
SELECT no, owner FROM endpoint WHERE id = %s

-- name: endpoint_access
-- What a submit, a hello or a report must know of an endpoint.
SELECT no, owner, public, journal_id, kind FROM endpoint WHERE id = %s AND deleted IS NULL

-- name: endpoints
-- A user's endpoints and, if asked for, the public ones of others.
SELECT id, owner, name, display_name, kind, public, metadata, agent, last_seen, registered
FROM endpoint WHERE deleted IS NULL AND kind != 'user' AND (owner = %(owner)s OR (%(public)s AND public)) ORDER BY no

-- name: environments
-- What agents told of themselves.
SELECT id, agent FROM endpoint WHERE agent IS NOT NULL AND id IN ({ids})

-- name: allowed_functions
-- The functions that an endpoint takes, as JSON; NULL for all.
SELECT metadata::json ->> 'allowed_functions' FROM endpoint WHERE no = %s

-- name: endpoint_id
-- The id behind a number.
SELECT id FROM endpoint WHERE no = %s

-- name: delete_endpoint
-- Nobody can submit to it any more.
UPDATE endpoint SET deleted = %s WHERE id = %s

-- name: endpoint_said_hello
-- What the agent told of itself.
UPDATE endpoint SET journal_id = %s, boot_id = %s, agent = %s, last_seen = %s WHERE no = %s


-- name: add_user_endpoint
-- What a published agent is to run for one user, configuration and runtime.
INSERT INTO user_endpoint (no, core, config, runtime) VALUES (%s, %s, %s, %s)

-- name: user_endpoints
-- All of them, with the agents that run them.
SELECT e.id, c.id FROM user_endpoint u JOIN endpoint e ON e.no = u.no JOIN endpoint c ON c.no = u.core
WHERE c.deleted IS NULL

-- name: user_endpoints_of
-- The numbers and ids of those of one agent.
SELECT u.no, e.id FROM user_endpoint u JOIN endpoint e ON e.no = u.no WHERE u.core = %s

-- name: user_endpoints_due
-- Those of one agent that have open tasks.
SELECT e.id, e.owner, u.config, u.runtime
FROM user_endpoint u JOIN endpoint e ON e.no = u.no JOIN endpoint c ON c.no = u.core
WHERE c.id = %s AND c.deleted IS NULL AND (
    EXISTS (SELECT 1 FROM task WHERE endpoint = u.no AND state = {WAITING} AND sent_at IS NULL)
    OR EXISTS (SELECT 1 FROM task WHERE endpoint = u.no AND sent_at IS NOT NULL AND {open})
)

-- name: user_endpoint
-- Which process of it had tasks last, which one has checked in, and when.
SELECT no, journal_id, boot_id, last_seen FROM endpoint WHERE id = %s AND kind = 'user' AND deleted IS NULL

-- name: user_endpoint_checked_in
-- Another process of it has sent its first heartbeat.
UPDATE endpoint SET boot_id = %s, last_seen = %s WHERE no = %s

-- name: user_endpoint_settled
-- What an older process of it had has ended.
UPDATE endpoint SET journal_id = %s WHERE no = %s

-- name: taken_before
-- What an endpoint has taken, and was sent before some time.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE endpoint = %s AND sent_at < %s AND {open} AND state != {WAITING}

-- name: untaken
-- What was sent to an endpoint and not taken by it.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE endpoint = %s AND sent_at IS NOT NULL AND {open} AND state = {WAITING}


-- name: groups
-- Those of the task groups that are a user's.
SELECT g.id, e.id, g.created FROM task_group g JOIN endpoint e ON e.no = g.endpoint
WHERE g.owner = %s AND g.id IN ({ids})

-- name: newest_groups
-- A user's task groups, the newest first.
SELECT g.no, g.id, e.id, g.created, e.name FROM task_group g JOIN endpoint e ON e.no = g.endpoint
WHERE g.owner = %s ORDER BY g.no DESC LIMIT %s

-- name: states_of_group
-- The states of the next tasks of a group, in the order of ids.
SELECT id, state FROM task WHERE grp = %s AND id > %s ORDER BY id LIMIT %s

-- name: group_access
-- What a submit must know of a task group.
SELECT no, owner FROM task_group WHERE id = %s

-- name: group_name
-- The id and owner behind a number.
SELECT id, owner FROM task_group WHERE no = %s

-- name: add_group
-- A new task group.
INSERT INTO task_group (id, owner, endpoint, created, next_expiry) VALUES (%s, %s, %s, %s, %s) RETURNING no

-- name: set_next_expiry
-- When to look next whether something in the group has expired.
UPDATE task_group SET next_expiry = %s WHERE no = %s

-- name: hasten_expiry
-- Tasks that come from now on may expire before anybody would have looked at their group.
UPDATE task_group SET next_expiry = %s WHERE next_expiry > %s

-- name: group_due
-- A task group in which something may have expired.
SELECT no FROM task_group WHERE next_expiry <= %s ORDER BY next_expiry LIMIT 1

-- name: hold
-- The hold of a task group that is not released.
SELECT no FROM hold WHERE grp = %s

-- name: add_hold
-- Tasks of this group wait for a release.
INSERT INTO hold (grp, since) VALUES (%s, %s) RETURNING no

-- name: drop_hold
-- Ends a hold; tasks with its number are free.
DELETE FROM hold WHERE no = %s

-- name: stale_hold
-- A hold that nobody has released in time.
SELECT no, grp FROM hold WHERE since <= %s ORDER BY since LIMIT 1

-- name: note_hold
-- Tasks for this endpoint came under this hold.
INSERT INTO hold_endpoint (hold, endpoint) VALUES (%s, %s) ON CONFLICT DO NOTHING

-- name: endpoints_of_hold
-- Where tasks of this hold are to go.
SELECT endpoint FROM hold_endpoint WHERE hold = %s

-- name: drop_hold_endpoints
-- Ends a hold.
DELETE FROM hold_endpoint WHERE hold = %s

-- name: options
-- The number of an options text that is known.
SELECT no FROM options WHERE sha256 = %s

-- name: add_options
-- An options text, stored once.
INSERT INTO options (sha256, body) VALUES (%s, %s) RETURNING no

-- name: options_body
-- The options text behind a number.
SELECT body FROM options WHERE no = %s


-- name: forget_submits
-- Requests too old to be repeats.
DELETE FROM submit WHERE at < %s

-- name: repeated_submit
-- The reply to an equal request that could not be written.
SELECT reply FROM submit WHERE sha256 = %s AND owner = %s AND answered = 2 AND at >= %s

-- name: add_submit
-- A request without ids, for the case that its reply can't be written.
INSERT INTO submit (sha256, owner, reply, answered, at) VALUES (%s, %s, %s, 0, %s)
ON CONFLICT (sha256, owner) DO UPDATE SET reply = excluded.reply, answered = 0, at = excluded.at

-- name: answer_submit
-- Whether the reply was written: 1 yes, 2 no.
UPDATE submit SET answered = %s WHERE sha256 = %s AND owner = %s


-- name: last_task
-- The highest task number in use.
SELECT coalesce(max(no), 0) FROM task

-- name: task_known
-- Whether an id is in use.
SELECT 1 FROM task WHERE id = %s

-- name: add_task
-- A task that was accepted; if sent_at is given it leaves with this very commit.
INSERT INTO task (no, id, sent_at, grp, endpoint, fn, options, hold, retries, submitted, expires, state, attempt)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {WAITING}, 0)

-- name: add_payload
-- The arguments of a task.
INSERT INTO payload (no, args) VALUES (%s, %s)

-- name: retry_of
-- The task that runs in the place of another one.
SELECT no, id, state, endpoint, grp FROM task WHERE retry_of = %s

-- name: place_of_task
-- What a retry must know of a task; whether its endpoint still takes tasks.
SELECT t.no, t.id, t.state, t.endpoint, t.grp, e.id, e.deleted IS NULL
FROM task t JOIN task_group g ON g.no = t.grp LEFT JOIN user_endpoint u ON u.no = t.endpoint
JOIN endpoint e ON e.no = coalesce(u.core, t.endpoint)
WHERE g.owner = %s AND t.id = %s

-- name: add_retry
-- A task that runs again what another one was to do.
INSERT INTO task (no, id, grp, endpoint, fn, options, hold, retries, submitted, expires, state, attempt, retry_of)
SELECT %s, %s::uuid, grp, endpoint, fn, options, 0, retries, %s, %s, {WAITING}, 0, id FROM task WHERE no = %s

-- name: copy_payload
-- The arguments of the other one.
INSERT INTO payload (no, args) SELECT %s, args FROM payload WHERE no = %s

-- name: inputs
-- What a task was submitted with.
SELECT f.id, f.code, p.args
FROM task t JOIN task_group g ON g.no = t.grp JOIN function f ON f.no = t.fn JOIN payload p ON p.no = t.no
WHERE g.owner = %s AND t.id = %s

-- name: contents
-- What was submitted under these ids, to compare a repeat with.
SELECT t.id, t.grp, t.endpoint, t.fn, t.options, t.retries, p.args
FROM task t JOIN payload p ON p.no = t.no WHERE t.id IN ({ids})

-- name: tasks
-- Where tasks stand.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE id IN ({ids})

-- name: tasks_out
-- All that was sent to an endpoint and is open.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE endpoint = %s AND sent_at IS NOT NULL AND {open}

-- name: numbers_out
-- The numbers of all that was sent to an endpoint and is open, and whose each is.
SELECT t.no, g.owner FROM task t CROSS JOIN task_group g
WHERE t.endpoint = %s AND t.sent_at IS NOT NULL AND {open} AND g.no = t.grp

-- name: count_waiting
-- How many tasks of an endpoint are not sent yet.
SELECT count(*) FROM task WHERE endpoint = %s AND state = {WAITING} AND sent_at IS NULL

-- name: count_out
-- How many tasks were sent to an endpoint and are open.
SELECT count(*) FROM task WHERE endpoint = %s AND sent_at IS NOT NULL AND {open}

-- name: next_lane
-- The next pair of task group and hold that has tasks to send, after a given one.
SELECT grp, hold FROM task
WHERE endpoint = %s AND state = {WAITING} AND sent_at IS NULL AND (grp, hold) > (%s, %s)
ORDER BY grp, hold LIMIT 1

-- name: outbox
-- The first tasks to send of one task group and hold.
SELECT t.no, t.id, t.attempt, t.fn, t.options, p.args
FROM task t JOIN payload p ON p.no = t.no
WHERE t.endpoint = %s AND t.grp = %s AND t.hold = %s AND t.state = {WAITING} AND t.sent_at IS NULL
ORDER BY t.no LIMIT %s

-- name: send_task
-- The task leaves with this commit.
UPDATE task SET sent_at = %s WHERE no = %s

-- name: mark_task
-- The agent has the task, or runs it.
UPDATE task SET state = %s, started = %s, sent_at = %s WHERE no = %s AND attempt = %s AND ((%s >> state) & 1) = 1

-- name: requeue_task
-- The task is to be sent again.
UPDATE task SET state = {WAITING}, attempt = %s, sent_at = NULL, started = NULL
WHERE no = %s AND ((%s >> state) & 1) = 1

-- name: end_task
-- The end of a task, or that nobody can know it.
UPDATE task SET state = %s, attempt = %s, started = %s, ended = %s
WHERE no = %s AND endpoint = %s AND ((%s >> state) & 1) = 1

-- name: set_result
-- The value or the text of the error; a late value takes the place of "lost".
INSERT INTO result (no, body, error_code) VALUES (%s, %s, %s)
ON CONFLICT (no) DO UPDATE SET body = excluded.body, error_code = excluded.error_code

-- name: standing_of_group
-- Where the tasks of a group stand, a page in the order of ids, open or not.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold, expires
FROM task WHERE grp = %s AND id > %s ORDER BY id LIMIT %s

-- name: held_tasks
-- Tasks of one hold at one endpoint; none of them was ever sent.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE endpoint = %s AND grp = %s AND hold = %s AND state = {WAITING} AND sent_at IS NULL LIMIT %s

-- name: waiting_of_endpoint
-- Tasks that were never sent.
SELECT no, id, grp, endpoint, state, attempt, retries, submitted, started, sent_at, hold
FROM task WHERE endpoint = %s AND state = {WAITING} AND sent_at IS NULL LIMIT %s

-- name: page_of_group
-- A page of a task group, in the order of ids.
SELECT id, state, submitted, started, ended, attempt, retry_of
FROM task WHERE grp = %s AND id > %s ORDER BY id LIMIT %s

-- name: task_rows
-- All that is told about tasks, with results.
SELECT t.id, g.id, e.id, f.id, t.state, t.attempt, t.retries, t.submitted, t.started, t.ended, r.body, r.error_code, t.fetched
FROM task t
JOIN task_group g ON g.no = t.grp
LEFT JOIN user_endpoint u ON u.no = t.endpoint
JOIN endpoint e ON e.no = coalesce(u.core, t.endpoint)
JOIN function f ON f.no = t.fn
LEFT JOIN result r ON r.no = t.no
WHERE g.owner = %s AND t.id IN ({ids})


-- name: note_fetched
-- Somebody was handed the value of a task that has ended; once a day is enough.
UPDATE task SET fetched = %s WHERE id = %s AND NOT {open} AND (fetched IS NULL OR fetched < %s)

-- name: stored_tasks
-- The next tasks in the order in which they came.
SELECT no, grp, state, submitted, coalesce(ended, submitted), fetched
FROM task WHERE no > %s ORDER BY no LIMIT %s

-- name: drop_task
-- Tasks are forgotten.
DELETE FROM task WHERE no IN ({ids})

-- name: drop_payload
-- Their arguments.
DELETE FROM payload WHERE no IN ({ids})

-- name: drop_result
-- Their values.
DELETE FROM result WHERE no IN ({ids})

-- name: drop_group
-- A task group without tasks; never the newest one, whose number would come back.
DELETE FROM task_group WHERE no = %s AND no < (SELECT max(no) FROM task_group)
AND NOT EXISTS (SELECT 1 FROM task WHERE grp = task_group.no)
