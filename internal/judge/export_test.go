package judge

var Met, Ended = met, ended // for the model
