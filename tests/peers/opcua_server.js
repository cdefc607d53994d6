// An OPC UA server that shares no code with ours: node-opcua, with every security policy, users, types and a method.
// node opcua_server.js PORT FOLDER [NODES [PERIOD_MS]]; says "READY" and takes lines on stdin, each behind a number that
// its answer repeats: set NAME VALUE, get NAME, status NAME CODE, event MESSAGE SEVERITY, reset (every node as at first).
"use strict";
const path = require("path");
const modules = process.env.PEER_MODULES;
const opcua = require(path.join(modules, "node-opcua-server"));
const { Variant, DataType, StatusCodes, VariantArrayType } = (() => {
  const variant = require(path.join(modules, "node-opcua-variant"));
  const codes = require(path.join(modules, "node-opcua-status-code"));
  return { ...variant, ...codes };
})();
const { Range } = require(path.join(modules, "node-opcua-types"));
const { OPCUACertificateManager } = require(path.join(modules, "node-opcua-certificate-manager"));

const [port, folder, nodes = "0", period = "100"] = process.argv.slice(2);

async function main() {
  const certificates = new OPCUACertificateManager({
    rootFolder: path.join(folder, "pki"), automaticallyAcceptUnknownCertificate: true,
  });
  await certificates.initialize();
  const users = new OPCUACertificateManager({
    rootFolder: path.join(folder, "users"), automaticallyAcceptUnknownCertificate: process.env.ANY_USER === "1",
  });
  await users.initialize();
  const server = new opcua.OPCUAServer({
    port: Number(port), hostname: "127.0.0.1", resourcePath: "/", allowAnonymous: process.env.ANONYMOUS !== "0",
    serverCertificateManager: certificates, userCertificateManager: users,
    userManager: { isValidUser: (name, password) => name === "ann" && password === "secret" },
    serverCapabilities: {
      maxSessions: 1000, maxSubscriptions: 1000, maxSubscriptionsPerSession: 100, maxMonitoredItemsPerSubscription: 100000, maxMonitoredItems: 100000,
      operationLimits: { maxNodesPerRead: Number(process.env.MAX_READ || 1000) },
    },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.getOwnNamespace();
  const tank = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Tank", nodeId: "s=Tank" });
  const found = {};
  const add = (name, dataType, value, more = {}) => {
    found[name] = own.addVariable({
      componentOf: tank, browseName: name, nodeId: `s=Tank.${name}`, dataType, minimumSamplingInterval: 10,
      accessLevel: "CurrentRead | CurrentWrite", userAccessLevel: "CurrentRead | CurrentWrite",
      value: { dataType, value, ...more },
    });
    return found[name];
  };
  add("Boolean", "Boolean", true);
  for (const kind of ["SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32"]) add(kind, kind, 7);
  add("Int64", "Int64", [0, 7], { arrayType: VariantArrayType.Scalar });
  add("UInt64", "UInt64", [0, 7], { arrayType: VariantArrayType.Scalar });
  add("Float", "Float", 1.5);
  add("Double", "Double", 2.5);
  add("String", "String", "häll");
  add("DateTime", "DateTime", new Date(1_700_000_000_123));
  add("Guid", "Guid", "72962B91-FA75-4AE6-8D28-B404DC7DAF63");
  add("ByteString", "ByteString", Buffer.from([0, 1, 2]));
  add("Doubles", "Double", new Float64Array([1, 2, 3]), { arrayType: VariantArrayType.Array });
  // No deadband is taken of what may hold anything, though it holds a number.
  found.Any = own.addVariable({
    componentOf: tank, browseName: "Any", nodeId: "s=Tank.Any", dataType: "BaseDataType", minimumSamplingInterval: 10,
    value: { dataType: "Double", value: 10 },
  });
  own.addVariable({
    propertyOf: found.Any, browseName: { name: "EURange", namespaceIndex: 0 }, dataType: "Range",
    value: { dataType: "ExtensionObject", value: new Range({ low: 0, high: 200 }) },
  });
  const locked = add("Locked", "Double", 1);
  locked.accessLevel = locked.userAccessLevel = opcua.makeAccessLevelFlag
    ? opcua.makeAccessLevelFlag("CurrentRead") : 1;
  const method = own.addMethod(tank, {
    nodeId: "s=Tank.Fill", browseName: "Fill",
    inputArguments: [{ name: "level", dataType: DataType.Double }], outputArguments: [],
  });
  method.bindMethod((given, context, answer) => {
    if (given[0].value > 100) return answer(null, { statusCode: StatusCodes.BadOutOfRange });
    found.Double.setValueFromSource(new Variant({ dataType: DataType.Double, value: given[0].value }));
    return answer(null, { statusCode: StatusCodes.Good, outputArguments: [] });
  });
  const many = [];
  for (let i = 0; i < Number(nodes); i++) {
    many.push(own.addVariable({
      componentOf: tank, browseName: `n${i}`, nodeId: `s=n${i}`, dataType: "Double", minimumSamplingInterval: 10,
      value: { dataType: "Double", value: 0 },
    }));
  }
  const first = Object.entries(found).map(([name, node]) => [name, node.readValue().value.clone()]);
  let turn = 0;
  if (many.length) {
    setInterval(() => {
      turn += 1;
      for (const one of many) one.setValueFromSource(new Variant({ dataType: DataType.Double, value: turn }));
    }, Number(period));
  }
  await server.start();
  process.stdout.write("READY\n");
  let rest = "";
  process.stdin.on("data", (data) => {
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const [number, verb, name, ...words] = line.split(" ");
      const value = words.join(" ");
      if (verb === "set") {
        const kind = DataType[found[name].readValue().value.dataType];
        found[name].setValueFromSource(new Variant({ dataType: kind, value: JSON.parse(value) }));
      } else if (verb === "get") {
        process.stdout.write(`VALUE ${JSON.stringify(found[name].readValue().value.value)}\n`);
      } else if (verb === "status") {
        found[name].setValueFromSource(found[name].readValue().value, StatusCodes[value]);
      } else if (verb === "event") {
        space.rootFolder.objects.server.raiseEvent("BaseEventType", {
          message: { dataType: DataType.LocalizedText, value: { text: name } },
          severity: { dataType: DataType.UInt16, value: Number(value) },
          sourceName: { dataType: DataType.String, value: "Tank" },
        });
      } else if (verb === "reset") {
        for (const [name, value] of first) found[name].setValueFromSource(value.clone(), StatusCodes.Good);
      }
      process.stdout.write(`DONE ${number}\n`);
    }
  });
  process.stdin.on("end", () => process.exit(0));
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
