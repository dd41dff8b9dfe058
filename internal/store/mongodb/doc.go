// Package mongodb is the store of many instances: MongoDB 5.0 or newer, with every write acknowledged by a majority and
// journaled. It has the documents: devices, described records, logs, their indexes and migrations, archives. Package steps has the
// connection, and writes several documents at once.
package mongodb
