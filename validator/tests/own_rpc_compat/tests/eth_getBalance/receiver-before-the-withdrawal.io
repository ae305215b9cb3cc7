>> {"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":["0x7777777777777777777777777777777777777777","0x1"]}
<< {"id":1,"jsonrpc":"2.0","result":"0x3e8"}
