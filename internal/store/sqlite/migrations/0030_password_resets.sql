-- +goose Up
-- Resets are kept by their own id, not by the user's: a later one does not end an earlier. Those of before, an hour old at most, are
-- asked for again. The table is made anew from its description.
DROP TABLE IF EXISTS password_resets;
