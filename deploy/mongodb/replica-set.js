// The health check of the first member: makes the replica set and the user that hearth signs in with, then tells whether there is a
// primary. It runs inside the container, where MongoDB lets the first user be made without a password.
const hello = db.hello();
if (!hello.setName) {
  rs.initiate({
    _id: "hearth",
    members: [
      { _id: 0, host: "mongodb-1:27017", priority: 2 },
      { _id: 1, host: "mongodb-2:27017" },
      { _id: 2, host: "mongodb-3:27017" },
    ],
  });
  quit(1); // the election is on its way: healthy from the next look on
}
if (hello.isWritablePrimary) {
  const password = require("fs").readFileSync("/run/secrets/mongodb_password", "utf8").trim();
  const admin = db.getSiblingDB("admin");
  try {
    admin.auth("hearth", password);
  } catch {
    admin.createUser({ user: "hearth", pwd: password, roles: [{ role: "readWrite", db: "hearth" }, { role: "clusterMonitor", db: "admin" }] });
  }
}
quit(hello.isWritablePrimary || hello.secondary ? 0 : 1);
