// A Modbus TCP server on npm's modbus-serial: another independent peer, the one that says who it is (function 43/14).
//
//   PEER_MODULES=.cache/peers/node_modules node modbus_serial_server.js PORT UNIT VENDOR PRODUCT REVISION
//
// Answers as UNIT only, or as every unit for 255. Holding register n is n, input register n is 1000 + n, coil n is on
// when n is even. What is written is kept. Prints READY when it listens.
"use strict";
const { ServerTCP } = require(`${process.env.PEER_MODULES}/modbus-serial`);

const [port, unit, vendor, product, revision] = process.argv.slice(2);
const registers = new Map();
const coils = new Map();
const server = new ServerTCP(
    {
        getHoldingRegister: (address) => registers.get(address) ?? address,
        getInputRegister: (address) => 1000 + address,
        getCoil: (address) => coils.get(address) ?? address % 2 === 0,
        getDiscreteInput: (address) => address % 2 === 1,
        setRegister: (address, value) => void registers.set(address, value),
        setCoil: (address, on) => void coils.set(address, on),
        readDeviceIdentification: () => ({ 0: vendor, 1: product, 2: revision, 4: `${product} of the hall` }),
    },
    { host: "127.0.0.1", port: Number(port), unitID: Number(unit) },
);
server.on("initialized", () => console.log("READY"));
server.on("socketError", () => undefined);
