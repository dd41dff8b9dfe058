-- +goose Up
-- The indexes have only those commands that are looked for in them. They are made anew from their description.
DROP INDEX IF EXISTS commands_by_device_id_state_seq_id;
DROP INDEX IF EXISTS commands_by_device_id_turn_id;
DROP INDEX IF EXISTS commands_by_batch_state;
