-- What a published agent runs for one user, configuration and runtime; `no` is that of its row in `endpoint`.
CREATE TABLE user_endpoint (
    no INTEGER PRIMARY KEY, core INTEGER NOT NULL, config TEXT NOT NULL, runtime TEXT NOT NULL
);
CREATE INDEX user_endpoint_of_core ON user_endpoint (core);
