package testserver_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"hearth/internal/testserver"
)

// TestMongoDBServes: each test's database is its own.
func TestMongoDBServes(t *testing.T) {
	t.Parallel()
	for range 2 {
		uri := testserver.MongoDB(t)
		client, err := mongo.Connect(options.Client().ApplyURI(uri))
		if err != nil {
			t.Fatal(err)
		}
		things := client.Database(uri[len(uri)-33:]).Collection("things")
		if _, err := things.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
			t.Error(err)
		}
		if n, err := things.CountDocuments(t.Context(), bson.D{}); err != nil || n != 1 {
			t.Errorf("%d documents, %v", n, err)
		}
		if err := client.Disconnect(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
