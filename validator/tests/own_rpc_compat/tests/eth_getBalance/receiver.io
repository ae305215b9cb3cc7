>> {"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":["0x7777777777777777777777777777777777777777","latest"]}
<< {"id":1,"jsonrpc":"2.0","result":"0xee6b2be8"}
