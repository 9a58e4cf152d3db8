-- What a published agent runs for one user, configuration and runtime; `no` is that of its row in `endpoint`.
CREATE TABLE user_endpoint (
    no bigint PRIMARY KEY, core bigint NOT NULL, config text NOT NULL, runtime text NOT NULL
);
CREATE INDEX user_endpoint_of_core ON user_endpoint (core);
