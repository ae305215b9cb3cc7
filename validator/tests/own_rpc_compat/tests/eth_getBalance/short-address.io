// an address that is too short; the text of an error is everyone's own
>> {"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["0x01","latest"]}
<< {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"invalid address"}}
